"""The numerics that rules and attacks share."""
