"""How good trained policies are in domains that they may not have seen."""
