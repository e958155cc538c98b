"""Lab: byte-pair encoding, learned and applied."""
