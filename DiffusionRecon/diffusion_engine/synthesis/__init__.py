"""Images made from segmentations, lesions, and what says so of them."""
