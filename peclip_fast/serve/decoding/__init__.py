"""Clients' files are decoded in processes that may die, and that have no model."""
