"""What the panel knows of MRI."""
