"""Local training of clients, one after the other or stacked, with their samples and parameters."""
