"""Submitted models: their cards, the ways to run them, and the safe reading of their files."""
