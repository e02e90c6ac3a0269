"""Which kernels a run takes."""
