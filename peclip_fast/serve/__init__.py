"""A page and an API around a run's model: `peclip-fast serve`."""
