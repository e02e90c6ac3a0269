"""The loop around a model: steps, schedule, checkpoints, evaluation and the report."""
