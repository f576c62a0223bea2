"""What to run: cells and recipes, checked before anything heavy is imported."""
