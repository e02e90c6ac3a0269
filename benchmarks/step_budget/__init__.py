"""What a step asks of a GPU, counted without one: copies, waits, launches, bytes."""
