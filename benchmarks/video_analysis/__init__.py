"""How fast videos are analyzed, in how much memory."""
