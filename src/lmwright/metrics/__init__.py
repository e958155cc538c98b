"""Pure functions from strings and counts to scores and intervals."""
