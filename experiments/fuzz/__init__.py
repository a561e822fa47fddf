"""Random scenarios over all registries, and the checks of their outcomes."""
