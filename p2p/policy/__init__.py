"""The policy: its parameters, its observation normaliser, the artefact, and episodes of it."""
