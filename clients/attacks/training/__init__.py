"""Attacks that change a malicious client's training."""
