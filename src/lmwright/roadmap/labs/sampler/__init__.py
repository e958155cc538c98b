"""Lab: from scores to the probabilities that a token is drawn from."""
