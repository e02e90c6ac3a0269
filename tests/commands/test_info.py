"""``info`` gives the exact counts of trained parameters, as JSON and for people."""

from __future__ import annotations

import json

import pytest

from peclip_fast.commands.info import main


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ([], 9_399_564),
        (["--model.reduction", "4"], 16_512_780),
        (["--model.reduction=16"], 6_340_620),
        (["--model.recurrence", "rnn"], 9_399_564 - 2_477_964 + 2_030_988),
        (["--model.recurrence", "lstm"], 9_399_564 - 2_477_964 + 2_701_452),
        (["--model.recurrence", "none"], 9_399_564 - 2_477_964 + 1_807_500),
        (["--config", "dfew", "table9/r4"], 16_512_780),
        (["--config", "dfew", "finecliper/video"], 13_057_920),
        (["--config", "dfew", "finecliper/cues"], 18_998_403),
        (["--config", "dfew", "finecliper/text"], 14_049_090),
        (["--config", "dfew", "finecliper/all"], 19_989_060),
    ],
)
def test_counts(capsys, arguments, total):
    assert main(["--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained"]["total"] == total
    assert sum(found["trained"].values()) == 2 * total
    assert found["frozen"] == 149_620_737
    for devices in found["backends"].values():
        assert devices["cpu"]["choice"] in ("reference", "cpu")
        assert all(isinstance(why, str) and why for why in devices["cpu"]["not_taken"].values())


@pytest.mark.parametrize(
    ("backbone", "trained", "frozen"),
    [
        ("ViT-B-32", 9_399_564, 151_277_313),
        ("ViT-L-14", 25_750_296, 427_616_513),
        ("EVA02-B-16", 9_399_564, 149_691_137),
        ("ViT-B-16-SigLIP", 13_146_636, 203_155_970),
    ],
)
def test_other_backbones(capsys, backbone, trained, frozen):
    """README's table. The frozen counts are those of open_clip's own models."""
    assert main(["--json", "--model.backbone", backbone]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trained"]["total"], found["frozen"]) == (trained, frozen)


def test_a_file_and_a_word_for_people(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text("model:\n  temporal: false\n  prompts: none\n")
    assert main(["--config", str(tmp_path / "mine.yaml")]) == 0
    text = capsys.readouterr().out
    assert "3,366,528" in text  # both text adapters and the vision one
    assert "temporal " not in text.partition("backends")[0]


def test_wrong_options_end_in_one_line(capsys):
    assert main(["--model.reducton", "4"]) == 2
    assert capsys.readouterr().err == (
        "error: unknown option --model.reducton; did you mean --model.reduction?\n"
    )
    assert main(["--model.backbone", "ViT-X"]) == 2
    assert capsys.readouterr().err.startswith("error: backbone 'ViT-X': open_clip knows none")
    assert main(["--config", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: --config nowhere: no such file")
