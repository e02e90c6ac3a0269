"""The reference implementation: what the published program computes, in the way it computes it.

Our own code, in plain PyTorch, kept as the other side of the benchmarks' ratios. Nothing in
``peclip_fast`` imports it.
"""
