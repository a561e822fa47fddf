"""The attacks: what they all share, and one folder per stage that they change."""
