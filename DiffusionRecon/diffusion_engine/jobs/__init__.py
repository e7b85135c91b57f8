"""A reconstruction as a folder and a process of its own: progress, cancel, exact re-run."""
