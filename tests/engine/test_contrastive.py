"""The loss of clips and their descriptions, against one that is written out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from peclip_fast.engine.objective import contrastive_loss


def written_out(clips, texts, names, scale):
    """In Python's numbers: each clip's texts, then each text's clips."""
    total = 0.0
    n = len(names)
    for own, others in ((clips, texts), (texts, clips)):
        for i in range(n):
            scores = [scale * sum(a * b for a, b in zip(own[i], o, strict=True)) for o in others]
            most = max(scores)
            whole = most + math.log(math.fsum(math.exp(s - most) for s in scores))
            right = [j for j in range(n) if names[j] == names[i]]
            total -= math.fsum(scores[j] - whole for j in right) / len(right)
    return total / 2


@pytest.mark.parametrize("names", ["abcde", "abacb", "aaaaa", "a"])
def test_it_is_what_it_says(names):
    clips, texts = (F.normalize(torch.randn(len(names), 7).double(), dim=-1) for _ in range(2))
    for i, name in enumerate(names):  # equal texts have equal features
        texts[i] = texts[names.index(name)]
    same = torch.tensor([[a == b for a in names] for b in names])
    found = contrastive_loss(clips, texts, same, 10.0)
    assert found.item() == pytest.approx(
        written_out(clips.tolist(), texts.tolist(), names, 10.0), abs=1e-9
    )


def test_gradients_and_autocast():
    clips, texts = (torch.randn(3, 4, requires_grad=True, dtype=torch.float64) for _ in range(2))
    same = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]]).bool()
    torch.autograd.gradcheck(lambda c, t: contrastive_loss(c, t, same, 3.0), (clips, texts))
    single = clips.detach().float(), texts.detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = contrastive_loss(*single, same, 100.0)
    assert torch.equal(inside, contrastive_loss(*single, same, 100.0))
