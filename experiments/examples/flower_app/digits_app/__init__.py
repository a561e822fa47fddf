"""A Flower app that classifies handwritten digits."""
