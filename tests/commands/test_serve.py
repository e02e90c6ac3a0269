"""The command: it serves, ends when it is told to, and begins again where it was."""

from __future__ import annotations

import json
import signal

import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video
from helpers.served import served

from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.commands.serve import main
from peclip_fast.serve import server


def test_a_server_ends_cleanly_and_the_next_one_keeps_the_promises(tiny_run, tmp_path):
    folder = tmp_path / "served"
    short = write_faces_video(tmp_path / "short.mp4", steady(1.0), one_face).read_bytes()
    long = write_faces_video(tmp_path / "long.mp4", steady(5.0), lambda time: []).read_bytes()
    with served(tiny_run, folder) as (process, client, log):
        status, body = client.ask("POST", "/api/jobs", short)
        assert status == 202
        done = json.loads(body)["id"]
        assert client.ended(done) == "done"
        table = client.ask("GET", f"/api/jobs/{done}/csv")
        assert table[0] == 200
        waiting = json.loads(client.ask("POST", "/api/jobs", long)[1])["id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        said = log.read_text()
        assert "Traceback" not in said
        assert said.endswith("stopped; results are kept for their time\n")
    assert not (folder / ".lock").exists()
    with served(tiny_run, folder) as (process, client, log):
        assert client.ask("GET", f"/api/jobs/{done}/csv") == table
        assert client.ended(waiting) == "done"
        process.kill()  # its decoding processes go with it
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port 99999: expected 0 to 65535"),
        (["--port", "-1"], "--port -1: expected 0 to 65535"),
        (["--host", "203.0.113.9"], "can't listen there"),
        (["--token", "short"], "--token: expected at least 16"),
        (["--token", "spaces are not for addresses"], "--token: expected at least 16"),
        (["--max_seconds", "0"], "--max_seconds 0: expected more than 0"),
        (["--keep", "inf"], "--keep inf: expected more than 0"),
        (["--workers", "0"], "--workers 0: expected at least 1"),
        (["--window", "-1"], "window: expected more than 0"),
        (["--folder", "/dev/null/x"], "expected a folder"),
    ],
)
def test_what_is_refused(tiny_run, capsys, arguments, message):
    assert main([str(tiny_run), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_two_servers_do_not_share_a_folder(tiny_run, tmp_path, capsys):
    from peclip_fast.locks import locked

    with locked(tmp_path):
        assert main([str(tiny_run), "--port", "0", "--folder", str(tmp_path)]) == 2
    assert "is writing there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("compiled", "sizes", "said"),
    [
        ("true", [9, 1], ""),
        ("false", [], ""),
        ("auto", [], "train.compile=auto: not compiled, as clients would wait\n"),
    ],
)
def test_what_is_compiled_before_it_begins(
    tiny_run, tmp_path, capsys, monkeypatch, compiled, sizes, said
):
    """Whole batches, and a clip that comes alone."""
    given = []
    monkeypatch.setattr(WindowClassifier, "compile", lambda self, clips, _: given.append(clips))
    monkeypatch.setattr(server, "serve", lambda service, access, listening: service.close())
    batch = ["--train.compile", compiled, "--train.eval_batch_size", "9"]
    assert main([str(tiny_run), "--port", "0", "--folder", str(tmp_path), *batch]) == 0
    assert given == sizes
    assert capsys.readouterr().err == said + "stopped; results are kept for their time\n"
