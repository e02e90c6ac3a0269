"""Two hosts, as network namespaces of this machine: one is cut off, and the other goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.tiny_runs import write_config

from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.run_folder import RunFolder

pytestmark = pytest.mark.slow

SECONDS = 4  # in which a host's kernel must answer, here
LAST_CALL = 3  # seconds that torchrun waits for more hosts, here
STATED = 120  # seconds, as docs/tutorials/many-machines.md has it for 60 and 30
ENDED = "error: another process of this run has ended ("
PATIENCE = 240  # of this test with a machine that is busy otherwise


def ip(*arguments: str) -> str | None:
    """What it says if it doesn't do it."""
    try:
        ended = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no ip"
    return ended.stderr.strip() if ended.returncode else None


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Names of two namespaces, whose interface is ``eth`` with the addresses 10.98.0.1 and .2."""
    name = uuid.uuid4().hex[:6]
    first, second = f"pf{name}a", f"pf{name}b"
    if why := ip("netns", "add", first):
        pytest.skip(f"no network namespaces here: {why}")
    try:
        made = [
            ip("netns", "add", second),
            ip("link", "add", first, "type", "veth", "peer", "name", second),
        ]
        for number, host in enumerate((first, second), 1):
            inside = ("-n", host)
            made += [
                ip("link", "set", host, "netns", host),
                ip(*inside, "link", "set", host, "name", "eth"),
                ip(*inside, "addr", "add", f"10.98.0.{number}/24", "dev", "eth"),
                ip(*inside, "link", "set", "eth", "up"),
                ip(*inside, "link", "set", "lo", "up"),
            ]
        if any(made):
            pytest.skip(f"no network namespaces here: {next(filter(None, made))}")
        yield [first, second]
    finally:
        for host in (first, second):
            ip("netns", "del", host)


class Launched:
    """torchrun on a host, with what it and its process say."""

    def __init__(self, host: str, log: Path, argv: list[str]) -> None:
        self.log = log
        # Both are of one name, by which torchrun would know whether it is the endpoint.
        is_first = host.endswith("a")
        options = [
            "--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", "two",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "10.98.0.1:29500",
            "--rdzv-conf", f"last_call_timeout={LAST_CALL},is_host={is_first}",
            "--monitor-interval", "0.2",
        ]  # fmt: skip
        with log.open("w") as file:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run",
                 *options, "--local-addr", f"10.98.0.{1 if is_first else 2}",
                 "-m", "peclip_fast.train", *argv],
                env=os.environ | {
                    "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
                    "PECLIP_FAST_PEER_SECONDS": str(SECONDS), "GLOO_SOCKET_IFNAME": "eth",
                },
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def until(self, there: Callable[[], bool], or_ended: bool = False) -> None:
        """Wait for something."""
        begin = time.monotonic()
        while not there():
            assert or_ended or self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() - begin < PATIENCE, self.log.read_text()[-3000:]
            time.sleep(0.05)


def test_one_is_cut_off_and_the_other_goes_on(
    hosts: list[str], tiny_backbone: str, tiny_clips: Path, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    config = write_config(
        tmp_path / "c.yaml", tiny_backbone, tiny_clips, epochs=400, batch_size=4, test_every=0,
        checkpoint_every=1,
    )  # fmt: skip
    argv = ["--config", str(config), "--output", str(run.path), "--resume"]
    both = [Launched(host, tmp_path / f"{host}.log", argv) for host in hosts]
    kept, lost = both
    try:

        def step() -> int:
            return int(read_checkpoint(run.last)["place"].step) if run.last.exists() else 0

        def processes() -> int:
            return len(read_checkpoint(run.last)["place"].losses) if run.last.exists() else 0

        kept.until(lambda: step() > 2 and processes() == 2)
        assert ip("-n", hosts[1], "link", "set", "eth", "down") is None
        cut = time.monotonic()
        # The lost host's torchrun itself may hang in its store, as long as TCP hopes.
        lost.until(lambda: ENDED in lost.log.read_text(), or_ended=True)
        lost.end()  # nobody hears of that; it would only start its process again
        kept.until(lambda: processes() == 1)  # a checkpoint of one process
        assert time.monotonic() - cut < STATED
        before = step()
        kept.until(lambda: step() > before + 2)
        assert ENDED in kept.log.read_text()
        kept.process.send_signal(signal.SIGTERM)
        kept.process.wait(PATIENCE)
    finally:
        for one in both:
            one.end()
