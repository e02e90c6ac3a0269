"""From any video to who shows what, when."""
