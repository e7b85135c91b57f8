"""What the panel knows of PET."""
