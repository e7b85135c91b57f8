"""What the panel knows of CT."""
