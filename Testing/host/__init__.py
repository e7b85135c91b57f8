"""A small stand-in for the Slicer application around the real slicer-core libraries: scene, logics, views; no Qt."""
