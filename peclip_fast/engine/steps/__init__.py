"""What is around the steps of training: processes, precision, memory, and losses that are no numbers."""
