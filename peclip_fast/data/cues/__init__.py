"""What is stored and drawn of a face, and descriptions of clips."""
