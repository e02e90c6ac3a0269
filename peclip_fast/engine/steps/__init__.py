"""What is around the steps of training: processes, precision, memory, losses that are NaN."""
