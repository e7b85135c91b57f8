"""Linear operators of the scanners, their geometries and their noise."""
