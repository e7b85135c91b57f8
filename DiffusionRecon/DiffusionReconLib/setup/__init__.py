"""Packages that the engine needs, and what is wrong with them."""
