"""Simulated robots in randomised domains, N at a time, and behind Gymnasium's interface."""
