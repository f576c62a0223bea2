"""One file for each family of backbones: its sizes, its layers, and what is peculiar to it."""
