"""The count of a step without a GPU: what is planted in it is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.models.small_backbone import save_small_backbone

PLACES = ("cuda", "cuda_backward")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """By place and by what is planted there."""
    backbone = save_small_backbone(tmp_path_factory.mktemp("small"))
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("planted.py")), backbone, *PLACES],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("place", PLACES)
def test_the_step_itself(counts: dict[str, Any], place: str) -> None:
    found = counts[place]["step"]
    assert found["pageable"] == []
    assert found["waits"] == []
    assert found["pinned"] == 2  # FMix's partners and mask
    assert found["launches"] > 500
    kernels = {name for name in found["by_name"] if name.startswith("temporal_adapter_cuda_")}
    assert {name.removeprefix("temporal_adapter_cuda_") for name in kernels} == {
        "pack", "fold", "down", "recurrence", "up", "up_backward", "recurrence_backward",
        "down_backward", "finish",
    }  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("number for the gpu", {"pageable": 1}),
        ("list as an index", {"pageable": 1, "launches": 2}),
        ("copy from pageable memory", {"pageable": 1}),
        ("copy that blocks", {"pageable": 1}),
        ("copy from pinned memory", {"pinned": 1}),
        ("number from the gpu", {"waits": 1, "launches": 1}),
        ("numbers from the gpu", {"waits": 1}),
        ("condition", {"waits": 1, "launches": 2}),
        ("mask", {"waits": 1}),
        ("launch", {"launches": 1}),
        ("view", {}),
        ("wide copy", {"launches": 1, "wide_copies": 1}),
        ("wide concatenation", {"launches": 1, "wide_copies": 1}),
    ],
)
def test_what_is_planted_is_counted(
    counts: dict[str, Any], place: str, what: str, more: dict[str, int]
) -> None:
    found = counts[place]["actions"][what]
    for name in ("pageable", "pinned", "waits", "wide_copies", "launches"):
        counted = found[name] if isinstance(found[name], int) else len(found[name])
        if name == "launches" and name not in more and what != "view":
            continue  # a copy is one too
        assert counted == more.get(name, 0), name
    assert (found["bytes_outside"] > 0) == (what != "view")
