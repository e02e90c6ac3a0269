"""What the GPU kernels use, from their compilers' reports: no GPU is needed for that."""
