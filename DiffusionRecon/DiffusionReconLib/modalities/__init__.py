"""What the panel knows of each modality."""
