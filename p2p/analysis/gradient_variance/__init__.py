"""The variance of the gradient through training (Fig. 8b-c)."""
