"""WAR and UAR against scikit-learn, and a class without clips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from peclip_fast.engine.metrics import score

CLASSES = ("a", "b", "c", "d")


def test_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (200,), generator=generator)
    predictions = torch.where(
        torch.rand(200, generator=generator) < 0.6,
        labels,
        torch.randint(4, (200,), generator=generator),
    )
    scores = score(labels, predictions, CLASSES)
    assert scores.war == accuracy_score(labels, predictions)
    assert scores.uar == pytest.approx(recall_score(labels, predictions, average="macro"))
    assert list(scores.recalls) == pytest.approx(recall_score(labels, predictions, average=None))
    assert [list(row) for row in scores.confusion] == confusion_matrix(labels, predictions).tolist()
    assert scores.absent == ()
    assert scores.uar_rule == "mean recall of all 4 classes"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=300))
def test_of_any_predictions(pairs):
    """Classes without clips count for scikit-learn only if they are named."""
    labels, predictions = (torch.tensor(values) for values in zip(*pairs, strict=True))
    scores = score(labels, predictions, CLASSES)
    present = sorted(set(labels.tolist()))
    expected = recall_score(labels, predictions, labels=present, average=None)
    assert scores.war == pytest.approx(accuracy_score(labels, predictions))
    assert scores.uar == pytest.approx(expected.mean())
    assert [scores.recalls[k] for k in present] == pytest.approx(expected)
    assert scores.absent == tuple(c for k, c in enumerate(CLASSES) if k not in present)
    assert sum(scores.counts) == len(pairs)


def test_an_absent_class_is_named_and_not_counted():
    scores = score(torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 2, 3]), CLASSES)
    assert scores.recalls == (0.5, None, 0.5, None)
    assert scores.uar == 0.5
    assert scores.absent == ("b", "d")
    assert scores.uar_rule == "mean recall of 2 of 4 classes; without clips: b, d"
    assert scores.counts == (2, 0, 2, 0)


def test_no_clips():
    with pytest.raises(ValueError, match="no clips"):
        score(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64), CLASSES)
