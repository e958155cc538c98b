"""Lab: rotary positions."""
