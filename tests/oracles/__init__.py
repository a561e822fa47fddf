"""What papers define, written out with plain loops in NumPy."""
