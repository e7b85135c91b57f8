"""Noise models, Gaussian and Poisson, and what a solver may ask of any."""
