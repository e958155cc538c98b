"""Lab: an answer as server-sent events."""
