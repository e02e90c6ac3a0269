"""What is around the steps of training: processes, precision, and losses that are no numbers."""
