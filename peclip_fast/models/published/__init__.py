"""Checkpoints of the authors' programs: read their names, build the equal model."""

from peclip_fast.models.published.checkpoint import PublishedCheckpoint, load_published

__all__ = ["PublishedCheckpoint", "load_published"]
