"""Readings are judged before they are solved: a sinogram and its geometry, looked at together."""
