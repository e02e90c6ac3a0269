"""The datasets, one file each, and the generic layouts."""
