"""One published reconstruction method a file, headed by its equation and reference."""
