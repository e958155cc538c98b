"""Preference objectives, and data that holds the live model."""
