"""The papers' experiments: what they published, and the same by name."""
