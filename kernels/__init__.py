"""The Triton kernels, one file per operator. Installed as ``peclip_fast.kernels``."""
