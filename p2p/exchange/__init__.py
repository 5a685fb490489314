"""The one collective, `exchange(vector) -> [K, n]`: each peer publishes a vector, all read it."""
