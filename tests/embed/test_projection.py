"""Maps and silhouettes."""

from __future__ import annotations

import pytest
import torch

from peclip_fast import InputError
from peclip_fast.embed.projection import project, silhouette


@pytest.fixture
def features():
    """Two groups of ten, of length 1, far apart."""
    torch.manual_seed(0)
    ahead = torch.eye(8)[[0, 1]].repeat_interleave(10, 0)
    return torch.nn.functional.normalize(ahead + 0.05 * torch.randn(20, 8), dim=-1)


LABELS = torch.tensor([0, 1]).repeat_interleave(10)


def test_groups_stay_groups(features):
    found = project(features, seed=1)
    assert found.shape == (20, 2)
    assert found.dtype == torch.float32
    nearest = (torch.cdist(found, found) + torch.diag(torch.full((20,), torch.inf))).argmin(1)
    assert torch.equal(LABELS[nearest], LABELS)
    assert torch.equal(project(features, seed=1), found)


@pytest.mark.parametrize("clips", [4, 5])
def test_few_clips(features, clips):
    assert project(features[:clips], seed=1).isfinite().all()


def test_too_few_clips(features):
    with pytest.raises(InputError, match="t-SNE of 3 clips: expected at least 4"):
        project(features[:3], seed=1)


def test_silhouette_by_its_definition(features):
    distances = 1 - features @ features.T
    values = []
    for i in range(20):
        same = LABELS.eq(LABELS[i])
        within = distances[i][same].sum() / 9  # without itself
        between = distances[i][~same].mean()
        values.append((between - within) / max(between, within))
    expected = torch.stack(values).mean().item()
    score = silhouette(features, LABELS)
    assert score is not None
    assert abs(score - expected) < 1e-5
    assert silhouette(features, LABELS) > 0.9
    assert silhouette(features, LABELS.roll(5)) < 0.1


def test_no_silhouette(features):
    assert silhouette(features, torch.zeros(20)) is None
    assert silhouette(features[:5], torch.arange(5)) is None
