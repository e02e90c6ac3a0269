"""Descriptions of what moves in a face: from an LLM or by hand, without the class names."""
