"""The one collective, `exchange(vector) -> [K, n]`, by which peers show one another vectors."""
