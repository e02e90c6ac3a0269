"""How things are timed and counted, and what a results file says of where it comes from."""
