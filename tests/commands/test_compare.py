"""The command on written predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peclip_fast.commands.compare import main


def write(folder: Path, lines: list[str], head: str = "path,label,prediction,a,b") -> str:
    folder.mkdir()
    (folder / "predictions.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    one = [f"{i}.mp4,a,{'a' if i < 4 else 'b'},0.5,0.5" for i in range(12)]
    other = [f"{i}.mp4,a,{'a' if i < 10 else 'b'},0.5,0.5" for i in reversed(range(12))]
    return [write(tmp_path / "one", one), write(tmp_path / "other", other)]


def test_what_it_prints(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(runs) == 0
    out = capsys.readouterr().out
    assert f"{runs[1]} less {runs[0]}, 12 clips" in out
    assert "WAR +50.00 points, p = 0.0312" in out
    assert "6 clips right only in other, 0 only in one" in out
    assert main([*runs[::-1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["war"] == found["uar"] == -0.5
    assert found["uar_low"] < -0.5 < found["uar_high"]


def test_other_clips_or_labels(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = write(tmp_path / "fewer", ["0.mp4,a,a,0.5,0.5"])
    assert main([runs[0], fewer]) == 2
    assert "have classified different clips: 11 are only in one of them" in capsys.readouterr().err
    renamed = write(tmp_path / "renamed", [f"{i}.mp4,b,a,0.5,0.5" for i in range(12)])
    assert main([runs[0], renamed]) == 2
    assert "0.mp4: labelled a in" in capsys.readouterr().err


def test_no_predictions(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([runs[0], str(tmp_path)]) == 2
    assert "predictions.csv: can't be read" in capsys.readouterr().err
    (tmp_path / "torn").mkdir()
    for data, told in (
        (b"path,label,prediction\na,\xe9,b\n", "predictions.csv:2: expected text in UTF-8"),
        (b'path,label,prediction\na,"b\n', "predictions.csv:2: not a row of a CSV file"),
        (b"path,label\na,b\n", "predictions.csv:1: expected the columns path, label, prediction"),
    ):
        (tmp_path / "torn" / "predictions.csv").write_bytes(data)
        assert main([runs[0], str(tmp_path / "torn")]) == 2
        assert told in capsys.readouterr().err
    broken = write(tmp_path / "broken", ["0.mp4,a"], "path,label,prediction")
    assert main([runs[0], broken]) == 2
    assert "predictions.csv:2: expected 3 fields, got 2" in capsys.readouterr().err


def test_clips_that_are_parts_of_one_video_count_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path / "one", [f"v.mp4,a,{p},1,0" for p in "aabb"])
    other = write(tmp_path / "other", [f"v.mp4,a,{p},1,0" for p in "abab"])
    assert main([one, other]) == 0
    out = capsys.readouterr().out
    assert "4 clips" in out
    assert "1 clips right only in other, 1 only in one" in out
