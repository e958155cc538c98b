"""Lab: the loss of direct preference optimisation."""
