"""An archive by this process and by Ray: the same bytes, whatever is killed on the way."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pandas
import pytest
from helpers.archives import analyzing, files_of, write_archive

from peclip_fast.analyze.reading import read_results
from peclip_fast.commands.analyze import main

ALL = int(os.environ.get("ARCHIVE_VIDEOS", "12"))
BROKEN = 10 if ALL >= 100 else 2
GOOD = ALL - BROKEN
PATIENCE = 300 + 5 * GOOD  # seconds


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "v", GOOD, BROKEN)


@pytest.fixture(scope="module")
def local(trained_run, listed, tmp_path_factory) -> Path:
    """What this process makes of it."""
    output = tmp_path_factory.mktemp("local") / "out"
    process = analyzing(trained_run, listed, output)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, err
    assert out == f"{GOOD} videos analyzed, {BROKEN} failed; written to {output}\n"
    assert err.count("failed: ") == BROKEN
    assert f"{GOOD + BROKEN} videos to analyze, 0 done before, 1 listed more than once" in err
    return output


def test_the_tables_are_those_of_each_video(local, listed):
    rows = list(csv.DictReader((local / "manifest.csv").open()))
    assert len(rows) == GOOD + BROKEN
    assert [row["source"] for row in rows] == [
        str(listed.parent / f"v{number:03d}.mp4") for number in range(GOOD + BROKEN)
    ]
    done = [row for row in rows if row["state"] == "done"]
    failed = [row for row in rows if row["state"] == "failed"]
    assert (len(done), len(failed)) == (GOOD, BROKEN)
    assert all(row["source"] in row["reason"] for row in failed)
    for table in ("frames", "windows", "tracks"):
        whole = pandas.read_parquet(local / table)
        assert len(list((local / table).iterdir())) == -(-(GOOD + BROKEN) // 5)
        parts = [pandas.read_csv(local / row["folder"] / f"{table}.csv") for row in done]
        assert len(whole) == sum(map(len, parts)) > 0
        # Each video's rows once, in order, and of the same values.
        assert list(dict.fromkeys(whole["source"])) == [row["source"] for row in done]
        stacked = pandas.concat(parts, ignore_index=True)
        pandas.testing.assert_frame_equal(
            whole.drop(columns="source"), stacked, check_dtype=False, rtol=0, atol=0
        )
    analysis = read_results(local / done[0]["folder"])
    assert analysis.source == done[0]["source"]
    assert len(analysis.frames) == int(done[0]["frames"])


def test_the_same_command_does_nothing_more(trained_run, listed, local, capsys):
    before = {path: path.stat().st_mtime_ns for path in local.glob("videos/*/*/frames.csv")}
    halves = [local / "frames" / "00000.parquet.tmp-1", local / "manifest.csv.tmp-1"]
    for half in halves:  # which a kill has left
        half.touch()
    argv = [str(trained_run), "--sources", str(listed), "--output", str(local), "--window", "1"]
    assert main([*argv, "--shard", "5"]) == 1
    captured = capsys.readouterr()
    assert f"{BROKEN} videos to analyze, {GOOD} done before" in captured.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not any(half.exists() for half in halves)
    assert main([*argv, "--shard", "4"]) == 2
    assert "holds an analysis with shard 5, not 4" in capsys.readouterr().err


def test_urls_pages_and_what_cannot_be_fetched(trained_run, listed, tmp_path, capsys):
    good = f"file://{listed.parent / 'v000.mp4'}"
    argv = [str(trained_run), "--sources", good, f"file://{tmp_path}/none.mp4", "--output",
            str(tmp_path / "out"), "--pages"]  # fmt: skip
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert f"failed: file://{tmp_path}/none.mp4: can't be fetched: " in err
    rows = list(csv.DictReader((tmp_path / "out" / "manifest.csv").open()))
    assert (rows[0]["source"], rows[0]["state"]) == (good, "done")
    folder = tmp_path / "out" / rows[0]["folder"]
    assert {"timeline.png", "report.html"} < {path.name for path in folder.iterdir()}


def of_ray(session: int) -> list[int]:
    """Processes of Ray's actors in a session, as other tests may have some too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = path.read_bytes()
            of = os.getsid(int(path.parent.name))
        except OSError:
            continue
        if of == session and b"ray::_" in title and b"IDLE" not in title:
            found.append(int(path.parent.name))
    return found


def kin_of(session: int) -> list[tuple[int, str]]:
    """Niceness and title of a session's processes."""
    lines = subprocess.run(
        ["ps", "-wweo", "sid=,ni=,args="], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in lines]
    return [(int(nice), title) for of, nice, title in rows if int(of) == session]


@pytest.mark.slow
@pytest.mark.parametrize("decoders", [0, 1])
def test_ray_gives_the_same_whatever_is_killed(
    trained_run, listed, local, tmp_path, decoders, monkeypatch
):
    """A killed one is gone on with by this process, a terminated one by Ray, with one more kill."""
    pytest.importorskip("ray", reason="Ray is not installed")
    # Ray would look there first.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    output, rng = tmp_path / "out", random.Random(decoders)
    options = ["--engine", "ray", "--workers", str(2 - decoders), "--decoders", str(decoders)]

    def done() -> int:
        return len(list(output.glob("videos/*/*/run.json")))

    def until(there) -> None:
        end = time.monotonic() + PATIENCE
        while not there():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)

    process = analyzing(trained_run, listed, output, *options)
    until(lambda: done() >= 1)
    kin = kin_of(process.pid)
    workers = {nice for nice, title in kin if title.startswith("ray::")}
    assert workers == {os.getpriority(os.PRIO_PROCESS, 0)}, kin  # no nicer than others
    os.kill(rng.choice(of_ray(process.pid)), signal.SIGKILL)
    until(lambda: done() >= GOOD // 3)
    process.send_signal(signal.SIGTERM if decoders else signal.SIGKILL)  # the driver
    _, err = process.communicate(timeout=PATIENCE)
    if decoders:
        assert process.returncode == 128 + signal.SIGTERM
        assert err.splitlines()[-1] == "terminated; the same command goes on"
        assert "SIGTERM received" not in err
    before = done()
    assert before < GOOD
    process = analyzing(trained_run, listed, output, *(options if decoders else []))
    kills = decoders * (4 if GOOD > 100 else 1)
    for _ in range(kills):
        goal = done() + max(1, (GOOD - done()) // (kills + 1))
        until(lambda goal=goal: done() >= goal)
        if actors := of_ray(process.pid):
            os.kill(rng.choice(actors), signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, err
    assert out == f"{GOOD} videos analyzed, {BROKEN} failed; written to {output}\n"
    assert files_of(output) == files_of(local)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "SOURCE: expected a video, a folder, a camera, or --sources"),
        (["a.mp4", "--engine", "ray"], "--engine: expected --sources, too"),
        (["a.mp4", "--pages"], "--pages: expected --sources, too"),
        (["a.mp4", "--sources", "b.mp4"], "a.mp4: expected it after --sources"),
        (["--sources", "b.mp4", "--workers", "2"], "--workers: expected --engine ray, too"),
        (["--sources", "b.mp4", "--shard", "0"], "--shard 0: expected at least 1"),
        (["--sources", "b.mp4", "--engine", "ray", "--workers", "0"], "--workers 0: expected"),
        (["--sources", "b.mp4", "--engine", "ray", "--gpus", "1.5"], "--gpus 1.5: expected"),
        (["--sources", "no-such.mp4"], "none of 1 videos could be analyzed"),
    ],
)
def test_what_is_refused(trained_run, tmp_path, capsys, options, message):
    assert main([str(trained_run), *options, "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("error: ") == 1
