"""How fast a server answers."""
