"""A run: settings, presets, the pipeline from data to result, draws, products, costs and report."""
