"""Studies and benchmarks that only use the simulator. Run one as `python -m experiments.NAME`."""
