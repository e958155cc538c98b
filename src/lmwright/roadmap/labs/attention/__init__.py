"""Lab: scaled dot-product attention."""
