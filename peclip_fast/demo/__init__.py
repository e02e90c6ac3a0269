"""The built-in demo: faces drawn from action units, as video, and a small CLIP made for them."""
