"""``peclip-fast serve RUN``: a page and an API around a run's model."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from peclip_fast.commands.shared.options import OF_MACHINE, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable
from peclip_fast.locks import locked
from peclip_fast.serve.limits import OPTIONS, Limits

DESCRIPTION = """Serve a page on which one drops or records a video and sees who shows what, when,
by a run's model, and the same as an API, described by /openapi.json. Only this machine can reach
it; with another --host a token is needed, which is in the page's address that is printed. What
clients send is removed when there is a result, and results are removed after an hour, or when a
client says so. SIGTERM or Ctrl-C end the server; one that is started again has the results that
there were, and goes on with the videos that waited. --train.compile true compiles before the server
begins; auto doesn't, as clients would wait."""
TOKEN = "PECLIP_FAST_TOKEN"
_SHORTEST = 16  # characters of a token
_OF_VIDEOS = ("window", "stride", "min_face", "max_faces", "smooth", "detector", "whole_frame")
_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_serve, argv)


def _serve(argv: list[str]) -> None:
    line = run_line("serve", DESCRIPTION, "RUN [--host HOST] [--port N] [options]", OF_MACHINE)
    _add_options(line.add)
    given = line.read(argv)
    options = given.own
    run = RunFolder(Path(options.run))
    config = given.of_run(run)
    if options.workers < 1:
        raise InputError(f"--workers {options.workers}: expected at least 1")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f"{missing[0]} is not installed: pip install 'peclip-fast[serve]'")
    folder = Path(options.folder or run.path / "serve")
    check_writable(folder)

    from peclip_fast.analyze.analyzer import AnalyzeOptions, Analyzer
    from peclip_fast.serve.server import address_of, is_loopback, open_socket, serve
    from peclip_fast.serve.service import Service
    from peclip_fast.serve.web.guard import Access

    limits = Limits(**{name: getattr(options, option) for name, option in OPTIONS.items()})
    chosen = AnalyzeOptions(**{name: getattr(options, name) for name in _OF_VIDEOS})
    local = is_loopback(options.host)
    access = Access(_token(options.token, local), local)
    with open_socket(options.host, options.port) as listening, locked(folder):
        compiled = config.train.compile is True
        if config.train.compile == "auto":
            print("train.compile=auto: not compiled, as clients would wait", file=sys.stderr)
        config = replace(config, train=replace(config.train, compile=compiled))
        analyzer = Analyzer(run, options=chosen, config=config)
        if compiled:  # a clip that comes alone, besides whole batches
            analyzer.classifier.compile(1, config.data.frames)
        service = Service(analyzer, config.title, folder, limits, options.workers)
        secret = f"#token={access.token}" if access.token else ""
        print(f"serving at {address_of(listening)}{secret}", flush=True)
        serve(service, access, listening)
    print("stopped; results are kept for their time", file=sys.stderr)


def _add_options(add: Callable[..., object]) -> None:
    add("run", metavar="RUN", help="the run folder")
    add(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all of this machine's"
    )
    add("--port", type=int, default=8000, metavar="N", help="port; 0 takes a free one")
    add("--token", help=f"what clients have to know; ${TOKEN}, or else a new one, unless given; "
        "with a loopback address nothing, unless given")  # fmt: skip
    add("--folder", help="of the videos and results; serve/ in the run folder unless given")
    add("--workers", type=int, default=1, metavar="N", help="videos that are worked on at a time")
    usual = Limits()
    for name, kind, unit, text in (
        ("megabytes", float, "MB", "largest file"),
        ("seconds", float, "SECONDS", "longest video"),
        ("frames", int, "N", "most frames of a video"),
        ("pixels", int, "N", "most pixels of a frame"),
        ("waiting", int, "N", "most videos that wait"),
        ("time", float, "SECONDS", "longest work on a video"),
        ("keep", float, "SECONDS", "how long results are kept"),
        ("patience", float, "SECONDS", "longest wait for a client's next bytes"),
    ):
        add(f"--{OPTIONS[name]}", type=kind, default=getattr(usual, name), metavar=unit, help=text)
    add("--window", type=float, metavar="SECONDS",
        help="length of a window; that of the training clips unless given")  # fmt: skip
    add("--stride", type=float, metavar="SECONDS",
        help="from one window to the next; half a window unless given")  # fmt: skip
    add("--min_face", type=float, default=0.0, metavar="PIXELS", help="smallest height of a face")
    add("--max_faces", type=int, metavar="N", help="most faces in a frame, the largest ones")
    add("--smooth", type=float, default=0.0, metavar="SECONDS",
        help="smooth a face's probabilities over so long")  # fmt: skip
    add("--detector", default="blazeface", metavar="NAME",
        help="blazeface, centerface, or a file of CenterFace's weights (ONNX)")  # fmt: skip
    add("--whole_frame", action="store_true",
        help="the model sees whole frames, as with /v1/predict; for videos of crops")  # fmt: skip


def _token(given: str | None, local: bool) -> str | None:
    """What clients have to know; None where nobody else can reach the server."""
    token = given or os.environ.get(TOKEN) or None
    if token is None:
        return None if local else secrets.token_urlsafe(24)
    if len(token) < _SHORTEST or not token.isascii() or set(token) - _SAFE:
        raise InputError(
            f"--token: expected at least {_SHORTEST} letters, digits, - or _, as in an address"
        )
    return token


_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
