"""Files of MR raw data, a module a format, and what is checked about them."""
