"""``peclip-fast experiment`` on tiny clips, with real training runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers.fake_runs import fake_command
from helpers.forked import Forked

from peclip_fast.commands.experiment import main
from peclip_fast.commands.shared.main import script
from peclip_fast.experiment import runner

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(tiny_clips, tiny_backbone, tmp_path):
    """Of a run of seconds, over any experiment."""
    return [
        "--data.dataset", "folder", "--data.root", str(tiny_clips), "--data.frames", "2",
        "--data.num_workers", "0", "--model.backbone", tiny_backbone, "--model.pretrained", "null",
        "--model.prompt_depth", "2", "--model.reduction", "16", "--train.epochs", "2",
        "--train.warmup_epochs", "1", "--train.threads", "1", "--train.device", "cpu",
        "--train.checkpoint_every", "1", "--output", str(tmp_path / "out"),
    ]  # fmt: skip


def report_of(options, name):
    return json.loads((Path(options[-1]) / name / "report.json").read_text())


def ends_with_one_line(capfd, argv, *words):
    assert main(argv) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.slow
def test_several_tables_and_no_run_twice(options, capfd, monkeypatch):
    monkeypatch.setattr(runner, "command", fake_command)
    assert main(["table6", "table7", *options]) == 0
    out = capfd.readouterr().out
    assert "[8/8] " in out  # 5 and 4 rows, one of them in both
    assert out.count("UAR 0.42") == 0
    assert out.count("UAR 42.00 %") == 8
    assert out.splitlines()[-2:] == [f"{options[-1]}/table{n}/report.html" for n in (6, 7)]
    assert main(["table8", *options]) == 0
    assert capfd.readouterr().out.count("had ended before") == 1  # the GRU's row
    for name in ("table6", "table7", "table8"):
        assert report_of(options, name)["missing_runs"] == 0


def test_one_failure_is_reported_and_the_others_run(options, capfd, monkeypatch):
    def command(cell, processes):
        if not cell.cell.config.model.temporal:
            return [sys.executable, "-c", "raise SystemExit('error: out of luck')"]
        return fake_command(cell, processes)

    monkeypatch.setattr(runner, "command", command)
    assert main(["table6", *options, "--jobs=3"]) == 1
    captured = capfd.readouterr()
    assert captured.err.count("exit code 1: error: out of luck; see ") == 3
    assert report_of(options, "table6")["missing_runs"] == 3
    assert "exit code 1: error: out of luck" in Path(options[-1], "table6/report.md").read_text()


def test_what_the_user_gave_wrongly(options, capfd, tmp_path):
    ends_with_one_line(
        capfd, ["table11", *options], "'table11': expected a YAML file, or one of", "demo-table10"
    )
    ends_with_one_line(capfd, ["table6", *options, "--jobs=0"], "--jobs 0: expected at least 1")
    ends_with_one_line(capfd, ["table6", *options, "--devices=0"], "--devices 0: there are 0 GPUs")
    ends_with_one_line(
        capfd, ["table6", *options, "--train.epoch=3"], "did you mean --train.epochs"
    )
    nowhere = str(tmp_path / "nowhere")
    ends_with_one_line(capfd, ["table5", "--data.root", nowhere, *options[-2:]], nowhere)
    assert not Path(options[-1]).exists()


@pytest.mark.slow
def test_a_killed_experiment_goes_on_where_it_stood(options, capfd, monkeypatch, tmp_path):
    """Killed with its second run, which then goes on from the checkpoint; the first stays."""
    names = ["table3-ferv39k", *options, "--seeds", "0", "1", "--jobs=1"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    runs = Path(options[-1]) / "runs"
    first = Forked(script, ["experiment", *names], errors=tmp_path / "said")
    end = time.monotonic() + 300

    def begun():
        return [p.parent.parent for p in runs.glob("*/checkpoints/last.ckpt")]

    while len(begun()) < 2:
        assert first.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    ended = [run for run in begun() if (run / "report.json").exists()]
    assert len(ended) == 1
    (stopped,) = (run for run in begun() if run not in ended)
    files = {p: p.stat().st_mtime_ns for p in ended[0].rglob("*") if p.is_file()}
    assert main(names) == 0
    assert capfd.readouterr().out.count("had ended before") == 1
    assert files == {p: p.stat().st_mtime_ns for p in ended[0].rglob("*") if p.is_file()}
    assert "(resumed)" in (runs / f"{stopped.name}.log").read_text()
    report = report_of(options, "table3-ferv39k")
    assert report["missing_runs"] == 0
    (row,) = report["rows"]
    first, second = (one["trained"] for one in row["runs"].values())
    assert first == second > 0
    assert len(list(runs.glob("*/report.json"))) == 2
