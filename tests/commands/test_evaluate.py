"""Evaluating a run again, elsewhere, and with what doesn't fit."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from helpers.tiny_runs import write_clips

from peclip_fast.commands.evaluate import main
from peclip_fast.locks import locked


def test_again_gives_the_same(tiny_run, capsys):
    before = {name: (tiny_run / name).read_bytes() for name in ("predictions.csv", "confusion.png")}
    report = json.loads((tiny_run / "report.json").read_text())
    capsys.readouterr()
    assert main([str(tiny_run), "--json"]) == 0
    out, err = capsys.readouterr()
    again = json.loads(out)
    assert err == f"written to {tiny_run}\n"
    assert again == json.loads((tiny_run / "report.json").read_text())
    assert again == report | {"changed": []}
    assert before == {name: (tiny_run / name).read_bytes() for name in before}


def test_the_table_and_the_lines(tiny_run, capsys):
    assert main([str(tiny_run)]) == 0
    out = capsys.readouterr().out
    assert "UAR " in out
    assert "mean recall of all 3 classes" in out
    with (tiny_run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert f"WAR {right / 9:.2%}" in out
    for row in rows:
        probabilities = {name: float(row[name]) for name in ("anger", "happiness", "sadness")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert max(probabilities, key=probabilities.get) == row["prediction"]


def test_clips_elsewhere_go_to_a_folder_of_their_own(tiny_run, tmp_path, capsys):
    root = write_clips(tmp_path / "clips", train=1, test=2)
    shutil.rmtree(root / "test" / "anger")  # a class without clips is said, not averaged over
    before = (tiny_run / "report.json").read_bytes()
    assert main([str(tiny_run), "--data.root", str(root)]) == 0
    out = capsys.readouterr().out
    assert "warning: no test clips of anger" in out
    assert (tiny_run / "report.json").read_bytes() == before
    report = json.loads((tiny_run / "evaluation" / "report.json").read_text())
    assert report["clips"] == 4
    assert report["recall"]["anger"] is None
    assert report["absent_classes"] == ["anger"]
    assert report["changed"][0].startswith("data.root=")


def test_a_model_for_other_classes_is_refused(tiny_run, tmp_path, capsys):
    root = write_clips(tmp_path / "clips", train=1, test=1)
    for split in ("train", "test"):
        (root / split / "anger").rename(root / split / "fear")
    capsys.readouterr()
    assert main([str(tiny_run), "--data.root", str(root), "--output", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "anger" in err
    assert not (tmp_path / "out").exists()


def test_what_is_no_run(tiny_run, tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no run there, it has no config.yaml" in capsys.readouterr().err
    shutil.copy(tiny_run / "config.yaml", tmp_path)
    assert main([str(tmp_path)]) == 2
    assert "its training has not ended" in capsys.readouterr().err
    assert main([]) == 2
    assert "RUN" in capsys.readouterr().err
    assert main([str(tiny_run), "--data.rot", "x"]) == 2
    assert capsys.readouterr().err == (
        "error: unknown option --data.rot; did you mean --data.root?\n"
    )


def test_a_folder_that_is_written_to_is_refused(tiny_run, tmp_path, capsys):
    with locked(tmp_path):
        assert main([str(tiny_run), "--output", str(tmp_path)]) == 2
        assert "is writing there" in capsys.readouterr().err
    assert main([str(tiny_run), "--output", str(tmp_path)]) == 0
    assert not list(tmp_path.glob(".*"))
