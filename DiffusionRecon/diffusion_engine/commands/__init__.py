"""The commands of the shell, a file a group: each has ``add(parsers)``, which registers its own."""
