"""The Slicer side of DiffusionRecon: nodes to arrays, the engine's process, results to nodes."""
