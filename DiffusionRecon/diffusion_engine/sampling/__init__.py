"""Time grids and movers of diffusion sampling, as plain functions."""
