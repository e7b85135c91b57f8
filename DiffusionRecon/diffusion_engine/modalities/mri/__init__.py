"""MRI: from Cartesian k-space of one or several coils, measured or simulated, to images."""
