"""Priors as denoisers D(x; sigma): analytic, and networks with a model card."""
