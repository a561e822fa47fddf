"""The clients, the server, the attacker, and the messages between them."""
