"""Lab: the stream of residuals through a block."""
