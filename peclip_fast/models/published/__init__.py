"""Checkpoints of the authors' programs: read their names, build the equal model."""
