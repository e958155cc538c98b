"""Lab: cross-entropy of a large output layer, in pieces."""
