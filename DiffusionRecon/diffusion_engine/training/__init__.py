"""Fit a prior to volumes: patches with positions, EDM loss, checkpoints that survive a kill."""
