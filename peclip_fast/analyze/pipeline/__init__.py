"""From frames to rows: who is there, and what each window shows."""
