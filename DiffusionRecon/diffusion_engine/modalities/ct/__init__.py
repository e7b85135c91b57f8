"""Computed tomography: scans, readings and their judgement, geometry files, the problem that solvers get."""
