"""A cohort over several machines: what their parents tell one another, and who does what."""
