"""Diffusion priors for image reconstruction: a PyTorch engine without Slicer, Qt or VTK."""

__version__ = "0.1.0"
