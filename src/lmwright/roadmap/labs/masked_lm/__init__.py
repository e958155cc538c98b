"""Lab: what masked language modelling hides."""
