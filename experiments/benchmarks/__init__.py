"""Benchmarks of the parts of fedpoison, compared with the hardware limit and with other libraries."""
