"""Fresh processes: what fails, what is equal, and the rows of a run."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.models.small_backbone import save_small_backbone

from benchmarks import cold_start


def test_a_process_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="no_such_module"):
        cold_start.run(cold_start.python("import no_such_module"))


def test_a_process_finds_the_benchmarks() -> None:
    assert cold_start.run(cold_start.python("import benchmarks; print(benchmarks.__name__)"))


def test_other_logits_end_the_benchmark() -> None:
    commands = {
        "reference": cold_start.python("print([[1.0, 2.0]])"),
        "ours": cold_start.python("print([[1.0, 2.5]])"),
    }
    with pytest.raises(SystemExit, match="ours gives other logits"):
        cold_start.check(commands)


def test_rows() -> None:
    slow, fast = "import time; time.sleep(0.2)", "pass"
    commands = {"reference": cold_start.python(slow), "ours": cold_start.python(fast)}
    reference, ours = cold_start.measure("import", commands, 2)
    assert reference["program"] == "reference"
    assert reference["median_ms"] > 200
    assert ours["times_faster_than"]["reference"] > 1
    assert ours["runs"] == 2


def run_here(command: Sequence[str]) -> str:
    """What ``python(code)`` prints, without the seconds in which a process imports torch."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(command[-1], {})
    return printed.getvalue()


@pytest.mark.slow
def test_both_programs_read_their_files_and_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold_start, "run", run_here)
    backbone = save_small_backbone(tmp_path)
    files = cold_start.save_models(backbone, "cpu", tmp_path)
    assert cold_start.create_commands(files).keys() == {"reference", "ours"}
    logits = cold_start.check(cold_start.infer_commands(files))
    assert logits.shape == (1, 7)
    assert logits.std() > 0.01


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {"Python alone": cold_start.python("pass"), "ours": cold_start.python("pass")}
    monkeypatch.setattr(cold_start, "import_commands", lambda: commands)
    arguments = ["--device", "cpu", "--what", "import", "--repeats", "1"]
    monkeypatch.setattr("sys.argv", ["cold_start", *arguments, "--output", str(tmp_path)])
    cold_start.main()
    found = json.loads((tmp_path / "cold_start-cpu.json").read_text())
    assert [row["program"] for row in found["rows"]] == ["Python alone", "ours"]
    assert {"what", "program", "median_ms"} <= found["rows"][0].keys()
