"""Descriptions of what moves in a face, from an LLM or by hand, that name no class."""
