"""Lab: the router of a mixture of experts."""
