"""Lab: normalisation by the root mean square."""
