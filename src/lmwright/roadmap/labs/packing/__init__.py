"""Lab: documents packed into rows."""
