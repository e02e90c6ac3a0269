"""``peclip-fast data``: what is done with a dataset before training."""
