"""Procedural test objects with known truth, never used in training."""

from .chest import synthetic_chest
from .lung import Nodule, chest_nodules

__all__ = ["Nodule", "chest_nodules", "synthetic_chest"]
