"""The road through the field: its topics, their states, and how they are shown."""
