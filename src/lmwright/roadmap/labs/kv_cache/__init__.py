"""Lab: who holds which block of the paged cache, and which prefixes are known."""
