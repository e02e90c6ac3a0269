"""What a person looks at and what other programs read of an analysis."""
