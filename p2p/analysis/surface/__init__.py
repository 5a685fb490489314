"""Returns on the plane through a run's initial, middle and final policy (Fig. 5)."""
