"""Recipes, steps and runs: what turns typed functions into a cached, resumable run folder."""
