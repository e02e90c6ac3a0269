"""WAR and UAR against scikit-learn, and a class without clips."""

from __future__ import annotations

import pytest
import torch
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
