"""Dynamo, and what only training needs, are not imported before something needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from peclip_fast.engine.evaluation import predict_clips
from torchvision.transforms.v2 import functional
late = ("torch._dynamo", "lightning_fabric", "matplotlib", "tensorboard", "scipy")
print([name for name in late if name in sys.modules])

import timm, torch, torchvision
from torchvision.ops import roi_align
print(type(torchvision.__spec__.loader).__name__, type(timm.__loader__).__name__)
boxes = [torch.tensor([[0.0, 0.0, 2.0, 2.0]])]
print(tuple(roi_align(torch.ones(1, 1, 4, 4), boxes, 2).shape))
from timm.layers import disable_compiler
seven = disable_compiler(lambda: 7)
print(seven())
import torch._dynamo
from torch._dynamo.utils import is_compile_supported
print(is_compile_supported("cpu"), seven(), torch._dynamo.__name__)
print(torch.compiler.disable.__module__)
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist())
"""

TAKES_MORE = """
import sys
sys.path.insert(0, sys.argv[1])
import peclip_fast
import torchvision
print(torchvision.taken, type(torchvision.__loader__).__name__)
try:
    import timm
except ImportError as error:
    print(error)
"""


def test_versions_that_take_more_are_imported_as_they_are(tmp_path: Path) -> None:
    """And one that can't be imported fails as it would."""
    for name, code in (
        (
            "torchvision",
            "from torch._dynamo.utils import counters\ntaken = type(counters).__name__",
        ),
        ("timm", "import nothing_of_this_name"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    command = [sys.executable, "-c", TAKES_MORE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "defaultdict SourceFileLoader", "No module named 'nothing_of_this_name'"
    ]  # fmt: skip


def test_late_imports_still_work() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[]", "SourceFileLoader SourceFileLoader", "(1, 1, 2, 2)", "7", "True 7 torch._dynamo",
        "torch.compiler", "[2.0, 2.0]",
    ]  # fmt: skip
