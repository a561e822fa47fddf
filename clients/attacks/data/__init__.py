"""Attacks that poison a malicious client's data."""
