"""Cells whose runs take a moment: a script stands in for the training."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from peclip_fast.config.run import RunConfig
from peclip_fast.experiment.cell_folder import CellFolder
from peclip_fast.experiment.plan import Cell

# Waits while there is a file NAME.wait, fails where there is a file NAME.fail.
SCRIPT = """
import json, os, pathlib, sys, time
run, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
run.mkdir(exist_ok=True)
beside = lambda end: run.with_name(run.name + end)
with open(run / "starts", "a") as file:
    print(os.getpid(), os.environ.get("PLACE", ""), file=file)
while beside(".wait").exists():
    time.sleep(0.01)
if beside(".fail").exists():
    sys.exit("error: no luck")
(run / "metrics.csv").write_text("epoch,loss,seconds\\n1,2.0,1.5\\n2,1.0,2.5\\n")
report = dict(uar=seed / 100, war=seed / 50, recall=dict(fear=0.5, anger=None),
              parameters=dict(trained=10 * seed), protocol="last epoch (2 of 2)",
              device="cpu", versions=dict(torch="2"))
(run / "report.json").write_text(json.dumps(report))
"""


def fake_command(cell, processes):
    """Stands for runner.command."""
    seed = str(cell.cell.config.train.seed)
    return [sys.executable, "-c", SCRIPT, str(cell.run.path), seed]


def cells(root, number):
    """Cells with the seeds from 1 on."""
    root.mkdir(parents=True, exist_ok=True)
    config = RunConfig()
    return [
        CellFolder(root, Cell(replace(config, train=replace(config.train, seed=seed))))
        for seed in range(1, number + 1)
    ]


def beside(cell, end):
    """A file that the script looks for."""
    return cell.root / f"{cell.cell.name}{end}"


def starts(cell):
    """(process, place) of each time that a run was started."""
    lines = (cell.run.path / "starts").read_text().splitlines()
    return [(int(line.split(" ")[0]), line.split(" ")[1]) for line in lines]


def started(cell):
    """Whether its last line is written, not the file alone."""
    path = cell.run.path / "starts"
    return path.exists() and path.read_text().endswith("\n")


def finish(cell, **report):
    """The files of a run that has ended."""
    cell.run.path.mkdir(parents=True, exist_ok=True)
    cell.run.metrics.write_text("epoch,loss,seconds\n1,2.0,4.0\n")
    whole = {
        "uar": 0.5,
        "war": 0.6,
        "recall": {},
        "parameters": {"trained": 1000},
        "protocol": "last epoch (1 of 1)",
        "device": "cpu",
        "versions": {"torch": "2"},
    }
    cell.run.report.write_text(json.dumps(whole | report))
