"""What is measured. Every figure is a ratio from interleaved runs of the same work."""
