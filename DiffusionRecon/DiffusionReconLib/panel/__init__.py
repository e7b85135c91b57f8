"""The sections of the panel: what is shown; no array."""
