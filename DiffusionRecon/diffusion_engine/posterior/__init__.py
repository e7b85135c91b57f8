"""From draws to a result: moments, residual test, honest labels."""
