"""The reference implementation gives the published program's numbers, the leaking ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.models.published_vectors import published_vectors

from benchmarks.reference.model import ReferencePECLIP


def load(name: str) -> tuple[ReferencePECLIP, dict[str, torch.Tensor]]:
    state, vectors, _ = published_vectors(name)
    return ReferencePECLIP(state, vectors["tokenized_prompts"]), vectors


def test_logits_of_two_clips_leak_as_published() -> None:
    model, vectors = load("batch_of_two")
    with torch.no_grad():
        together = model(vectors["frames"])
        alone = torch.cat([model(clip[None]) for clip in vectors["frames"]])
    torch.testing.assert_close(together, vectors["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(alone, vectors["logits_one_clip_at_a_time"], atol=1e-4, rtol=0)
    assert (together - alone)[1].abs().max() > 1e-2  # the second clip sees the first one's state
    torch.testing.assert_close(together[0], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["one_clip", "batch_of_two"])
def test_loss_and_gradients(name: str) -> None:
    model, vectors = load(name)
    loss = F.cross_entropy(model(vectors["frames"]), vectors["labels"])
    torch.testing.assert_close(loss, vectors["loss"].squeeze(), atol=1e-4, rtol=0)
    loss.backward()
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    given = {n.removeprefix("grad."): t for n, t in vectors.items() if n.startswith("grad.")}
    assert set(trained) == set(given)
    for parameter, gradient in given.items():
        error = (trained[parameter] - gradient).norm() / gradient.norm().clamp_min(1e-6)
        assert error < 1e-3, (parameter, error)
