"""The generated world: its words, things, scenes and facts."""
