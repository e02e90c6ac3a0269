"""Runs as processes: several at once, each once, stopped and gone on with."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.fake_runs import beside, cells, fake_command, finish, started, starts

from peclip_fast.errors import InputError
from peclip_fast.experiment import runner
from peclip_fast.experiment.runner import run_cells

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(runner, "command", fake_command)
    monkeypatch.setattr(runner, "_PAUSE", 0.01)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_every_cell_runs_once_and_is_told(tmp_path):
    three, events = cells(tmp_path, 3), []
    outcomes = run_cells(three, [{}], tell=events.append)
    assert [e.kind for e in outcomes] == ["done"] * 3
    assert [(e.kind, e.cell) for e in events] == [
        (kind, cell) for cell in three for kind in ("started", "done")
    ]
    result = outcomes[1].result
    assert (result.uar, result.war, result.trained, result.seconds) == (2, 4, 20, 4)
    assert result.recalls == {"fear": 50}  # a class without clips has none
    again = run_cells(three, [{}])
    assert [e.kind for e in again] == ["found"] * 3
    assert [e.result for e in again] == [e.result for e in outcomes]
    assert all(len(starts(cell)) == 1 for cell in three)


def test_as_many_at_once_as_there_are_places(tmp_path):
    five = cells(tmp_path, 5)
    for cell in five:
        beside(cell, ".wait").touch()
    places = [{"PLACE": "left"}, {"PLACE": "right"}]
    begun = []

    def tell(event):
        if event.kind == "started":
            begun.append(event.cell)

    thread = threading.Thread(target=run_cells, args=(five, places), kwargs={"tell": tell})
    thread.start()
    until(lambda: len(begun) == 2)
    time.sleep(0.3)
    assert begun == five[:2]
    for cell in five:
        beside(cell, ".wait").unlink()
    thread.join(60)
    assert {starts(cell)[0][1] for cell in five[:2]} == {"left", "right"}
    assert all(cell.result() for cell in five)


def test_a_failure_is_told_with_its_reason_and_holds_up_nobody(tmp_path):
    three = cells(tmp_path, 3)
    beside(three[0], ".fail").touch()
    outcomes = run_cells(three, [{}])
    assert [e.kind for e in outcomes] == ["failed", "done", "done"]
    assert outcomes[0].reason == "exit code 1: error: no luck"
    assert "no luck" in three[0].log.read_text()
    beside(three[0], ".fail").unlink()
    assert [e.kind for e in run_cells(three, [{}])] == ["found", "found", "done"]
    assert [len(starts(cell)) for cell in three] == [2, 1, 1]


def test_stopping_ends_the_runs_and_the_next_command_goes_on(tmp_path):
    two = cells(tmp_path, 2)
    beside(two[1], ".wait").touch()

    def stop(event):
        if event.kind == "started" and event.cell == two[1]:
            until(lambda: started(two[1]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(two, [{}], tell=stop)
    ((process, _),) = starts(two[1])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    beside(two[1], ".wait").unlink()
    assert [e.kind for e in run_cells(two, [{}])] == ["found", "done"]
    assert [len(starts(cell)) for cell in two] == [1, 2]


def test_a_run_whose_starter_was_killed_is_waited_for(tmp_path):
    """Its process holds the lock, so it isn't started a second time beside itself."""
    (cell,) = cells(tmp_path, 1)
    beside(cell, ".wait").touch()
    starter = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from helpers.fake_runs import cells, fake_command
from peclip_fast.experiment import runner
runner.command = fake_command
runner.run_cells(cells(Path({str(tmp_path)!r}), 1), [{{}}])
"""
    first = subprocess.Popen([sys.executable, "-c", starter])
    until(lambda: started(cell), 120)
    first.kill()
    first.wait()
    events = []

    def tell(event):
        events.append(event.kind)
        if event.kind == "elsewhere":
            beside(cell, ".wait").unlink()

    (outcome,) = run_cells([cell], [{}], tell=tell)
    assert events == ["elsewhere", "done"]
    assert outcome.result.uar == 1
    assert len(starts(cell)) == 1


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert [e.kind for e in run_cells(cells(tmp_path, 2), [{}])] == ["done"] * 2
    err = capsys.readouterr().err
    assert "no locks here (Function not implemented): be sure that no other process" in err
    assert err.count("\n") == 1  # once for the folder
    folder = cells(tmp_path, 1)[0]

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"), folder.lock():
        pass


def test_a_broken_report_is_named(tmp_path):
    (cell,) = cells(tmp_path, 1)
    finish(cell)
    assert cell.result().uar == 50
    whole = cell.run.report.read_text()
    others = [json.dumps(json.loads(whole) | {"uar": value}) for value in ("a", None, True, 1e999)]
    for text in ("{", "[]", "{}", "[" * 100_000, "\ud800", *others):
        cell.run.report.write_text(text, errors="surrogatepass")
        with pytest.raises(InputError, match=r"report\.json:.* expected .*|broken") as caught:
            cell.result()
        assert str(caught.value).endswith("to run it anew")
    cell.run.report.write_text(whole)
    cell.run.metrics.write_bytes(b"epoch,loss\n1,\xff\n")
    with pytest.raises(InputError, match=r"metrics\.csv:2: .* to run it anew"):
        cell.result()


def test_the_command_is_train_or_torchrun_of_it(tmp_path, monkeypatch):
    monkeypatch.undo()
    (cell,) = cells(tmp_path, 1)
    alone, together = runner.command(cell, 1), runner.command(cell, 4)
    assert alone[:3] == [sys.executable, "-m", "peclip_fast.train"]
    assert together[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert together[together.index("--nproc-per-node") + 1] == "4"
    assert together[-len(alone[3:]) :] == alone[3:]
