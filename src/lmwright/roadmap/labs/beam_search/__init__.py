"""Lab: the best continuation that several candidates at a time lead to."""
