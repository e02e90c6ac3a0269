"""What the commands share: their options, how they end, and their streams."""
