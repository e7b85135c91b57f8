"""PET: from coincidence counts of direct planes, measured or simulated, to images of activity."""
