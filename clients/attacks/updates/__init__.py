"""Attacks that craft the update that a malicious client sends."""
