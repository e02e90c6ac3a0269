"""Trained modules that methods are made of."""
