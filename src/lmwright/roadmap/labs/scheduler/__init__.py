"""Lab: how one pass is shared out among the requests that run."""
