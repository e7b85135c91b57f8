"""Files in, files out: images with their geometry, measured data."""
