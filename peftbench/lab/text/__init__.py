"""The text of the world: what models are trained on, and what is held out for tasks."""
