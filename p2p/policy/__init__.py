"""The policy: parameters, observation normaliser, the saved artefact, and its episodes."""
