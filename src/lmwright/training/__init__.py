"""The one training loop, planned from a budget, and what plugs into it."""
