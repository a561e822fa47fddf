"""The aggregation rules: one algorithm per file, named as in the registry."""
