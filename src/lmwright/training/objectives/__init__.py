"""Supervised objectives: from a batch to a sum of losses and its weight."""
