"""Architectures: layers, families, initialisation, exchange with the world, accounting."""
