"""Protocols that measure how good a prior or a method is, and the calibration of intervals."""
