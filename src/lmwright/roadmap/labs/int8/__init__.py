"""Lab: rounding weights to eight bits."""
