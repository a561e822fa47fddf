"""Studies that run many scenarios for one answer, and the built-in ones as TOML files in `library`."""
