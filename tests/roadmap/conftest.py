"""The learner's desk, for every test of the labs."""

from tests.roadmap.lab_cases import desk

__all__ = ["desk"]
