"""Lab: one step of AdamW."""
