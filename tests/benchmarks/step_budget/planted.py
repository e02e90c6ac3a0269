"""A program for test_counting.py: counts of a step with something planted in it, as JSON.

A process of its own, because the stand-in for a GPU can't be taken back.
"""

from __future__ import annotations

import json
import sys
from unittest import mock

import torch

from benchmarks.step_budget import steps
from benchmarks.step_budget.counting import Counting
from benchmarks.step_budget.counts import Counts
from peclip_fast.ops.register import IMPLEMENTATIONS

DEVICE = steps.GPU
ACTIONS = {
    "number for the gpu": lambda t: torch.tensor([1.0, 2.0], device=DEVICE),
    "list as an index": lambda t: t[[0]],
    "copy from pageable memory": lambda t: torch.zeros(3).to(DEVICE, non_blocking=True),
    "copy that blocks": lambda t: torch.zeros(3).pin_memory().to(DEVICE),
    "copy from pinned memory": lambda t: torch.zeros(3).pin_memory().to(DEVICE, non_blocking=True),
    "number from the gpu": lambda t: t.sum().item(),
    "numbers from the gpu": lambda t: t.view(-1)[:2].cpu(),
    "condition": lambda t: bool(t.sum() > 0),
    "mask": lambda t: t[t > 0],
    "launch": lambda t: t + 1,
    "view": lambda t: t.view(-1)[1:].unsqueeze(0),
    "wide copy": lambda t: t.new_empty(2**22).clone(),
    "wide concatenation": lambda t: torch.cat(2 * [t.new_empty(2**22)]),
}


def planted(place: str, backbone: str) -> dict[str, object]:
    """What a step counts, and each action more, once where a temporal adapter runs `place`."""
    name = f"temporal_adapter_{place}"
    function, make = IMPLEMENTATIONS[name], steps._counting
    actions: dict[str, dict[str, object]] = {}
    made: list[Counting] = []

    def counting(*arguments: object) -> Counting:
        made.append(make(*arguments))
        return made[-1]

    def run(first: torch.Tensor, *rest: object) -> object:
        for what in ACTIONS.keys() - actions.keys():
            before, made[-1].counts = made[-1].counts, Counts()
            ACTIONS[what](first)
            actions[what] = vars(made[-1].counts)
            made[-1].counts = before
        return function(first, *rest)

    with (
        mock.patch.dict(IMPLEMENTATIONS, {name: run}),
        mock.patch.object(steps, "_counting", counting),
    ):
        counts = steps.trained(2, place.partition("_")[0], backbone, frames=4)
    return {"step": vars(counts), "actions": actions}


if __name__ == "__main__":
    backbone, *places = sys.argv[1:]
    print(json.dumps({place: planted(place, backbone) for place in places}))
