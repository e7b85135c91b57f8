"""The engine's process: requests, runs, estimates, training."""
