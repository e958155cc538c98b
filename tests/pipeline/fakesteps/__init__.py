"""A room of tiny steps, standing in for the real ones."""
