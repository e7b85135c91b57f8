"""Likelihoods other than the Gaussian one, and what a solver may ask of any."""
