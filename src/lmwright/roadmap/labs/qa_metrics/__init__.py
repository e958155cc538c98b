"""Lab: exact match and F1 of answers."""
