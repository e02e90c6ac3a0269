"""The small CLIP: small enough, and its features mean something."""

from __future__ import annotations

from pathlib import Path

import peclip_fast.demo
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.demo.train_backbone import agreement, draw_stills, save, still, zero_shot
from peclip_fast.models.backbone import load_backbone


def test_the_files_are_at_most_3_mb():
    folder = Path(peclip_fast.demo.__file__).parent / "backbone"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3_000_000


def test_it_tells_expressions_of_new_faces_better_than_chance():
    pictures, _, units = draw_stills(range(2 * 10**6, 2 * 10**6 + 150))
    assert zero_shot(load_backbone("demo"), pictures, units) > 2 / 7


def test_it_knows_the_words_of_table_1():
    import open_clip

    rows = load_backbone("demo").token_embedding.weight
    tokens = open_clip.tokenizer.tokenize(list(PUBLISHED_ACTION_UNITS.values()))
    assert rows[tokens.unique()].abs().sum(1).min() > 0


def test_stills_are_the_same_each_time():
    for first, second in zip(still(7), still(7), strict=True):
        assert (first == second) if isinstance(first, (str, list)) else (first == second).all()


def test_targets_agree_most_with_the_same_units():
    import torch

    units = torch.tensor([[1.0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    targets = agreement(units)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    assert targets[0, 0] == targets[0, 1] > targets[0, 2] > targets[0, 3]
    assert targets[3].argmax() == 3


def test_save_is_what_the_loader_reads(tmp_path):
    model = load_backbone("demo")
    import torch

    seen = torch.tensor([0, 5, 49406, 49407])
    save(model, seen, tmp_path)
    again = load_backbone(str(tmp_path))
    assert torch.equal(again.token_embedding.weight[seen], model.token_embedding.weight[seen])
    assert again.token_embedding.weight[6].abs().sum() == 0
    assert torch.equal(again.visual.proj, model.visual.proj)
