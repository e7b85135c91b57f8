"""Procedural test objects with known truth, never used in training."""

from .chest import Nodule, chest_nodules, synthetic_chest

__all__ = ["Nodule", "chest_nodules", "synthetic_chest"]
