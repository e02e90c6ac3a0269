"""Pictures of scores and curves."""
