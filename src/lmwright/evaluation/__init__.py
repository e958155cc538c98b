"""Whole models measured on what they should know and admit not to, beside a baseline."""
