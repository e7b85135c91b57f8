"""Classical reconstructions: baselines, starts and fallbacks of the learned ones."""
