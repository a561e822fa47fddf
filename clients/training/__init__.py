"""How a client trains: samples, parameters, one client at a time or a stack of them."""
