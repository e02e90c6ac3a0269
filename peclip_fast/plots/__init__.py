"""Pictures of scores and curves, and pages of them."""
