"""The labs, one folder each.

`lab.yaml`, `spec.md`, `check.py`, `mutants.py`, `hints.md`, `proof.py`; no code elsewhere.
"""
