"""Types of the compiled module (csrc/module.cpp)."""

version: str
cuda: bool
cuda_version: str | None
cuda_architectures: tuple[int, ...]

def cuda_problem() -> str: ...
