"""What is done with a dataset before training."""
