"""What frozen weights of eight bits would cost and save."""
