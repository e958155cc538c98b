"""Lab: dropout and batch normalisation."""
