"""Files of verdicts: whole or passed over, shipped or the user's, with locks that end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.operator_calls import call_of

from peclip_fast.errors import InputError
from peclip_fast.ops.verdicts import store
from peclip_fast.ops.verdicts.store import NAME
from peclip_fast.ops.verdicts.verdict import Record, Verdict

MACHINE = {"device": "cuda", "name": "NVIDIA Something", "torch": "2.0", "extension": "ab12"}
CALL = call_of("temporal_adapter")
VERDICTS = [
    Verdict(CALL, "cuda", "passed", forward=0.25, both=1.0),
    Verdict(CALL, "triton", "failed", "crashed by SIGSEGV (ä\n)"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PECLIP_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_told", set())
    monkeypatch.setattr(store, "_memory", {})
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "cache"


def kept(cache: Path) -> Path:
    (path,) = cache.rglob("verdicts.json")
    return path


def test_what_is_kept_is_found_again(cache: Path) -> None:
    assert not store.anything()
    assert store.cached(MACHINE) == Record(MACHINE)
    store.keep(Record(MACHINE, VERDICTS, {"digest": "a model"}))
    store._memory.clear()
    assert store.anything()
    assert store.cached(MACHINE) == Record(MACHINE, VERDICTS, {"digest": "a model"})


@pytest.mark.parametrize("fact", list(MACHINE))
def test_another_machine_or_version_knows_nothing_of_it(fact: str) -> None:
    store.keep(Record(MACHINE, VERDICTS))
    assert store.cached({**MACHINE, fact: "other"}).verdicts == []
    assert store.cached(MACHINE).verdicts == VERDICTS


def test_what_is_unknown_is_never_kept() -> None:
    unknown = Verdict(CALL, "cuda", "unknown", "only 2 GiB of its memory are free")
    store.keep(Record(MACHINE, [unknown, VERDICTS[1]]))
    assert store.cached(MACHINE).verdicts == VERDICTS[1:]


def test_others_verdicts_stay() -> None:
    other = Verdict(call_of("bottleneck_adapter"), "triton", "passed")
    store.keep(Record(MACHINE, [other]))
    store.keep(Record(MACHINE, VERDICTS))
    assert store.cached(MACHINE).verdicts == [other, *VERDICTS]


def test_every_damaged_byte_is_noticed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.keep(Record(MACHINE, VERDICTS))
    path = kept(cache)
    whole = path.read_bytes()
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match=NAME):
            store.parse(path)
    for data in (b"", whole[:-20], b"{}", b"\xff" * 100, b"[" * 100_000):
        path.write_bytes(data)
        store._memory.clear()
        assert store.cached(MACHINE).verdicts == []
    assert capsys.readouterr().err.count("it is passed over") >= 2
    store.keep(Record(MACHINE, VERDICTS))
    assert store.parse(path).verdicts == VERDICTS, "a damaged file is written anew"


def test_another_format_is_passed_over(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_FORMAT", 0)
    store.keep(Record(MACHINE, VERDICTS))
    monkeypatch.setattr(store, "_FORMAT", 1)
    with pytest.raises(InputError, match="of another version"):
        store.parse(kept(cache))


def test_a_cache_that_can_not_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost for this process; what is in a read-only cache is read."""
    monkeypatch.setattr(store, "cache_folder", lambda: Path("/proc/cache"))
    store.keep(Record(MACHINE, VERDICTS))
    assert "/proc/cache" in capsys.readouterr().err
    assert store.cached(MACHINE).verdicts == VERDICTS
    monkeypatch.undo()
    monkeypatch.setenv("PECLIP_FAST_CACHE", str(tmp_path / "baked"))
    store.keep(Record(MACHINE, VERDICTS))
    monkeypatch.setattr(store, "cache_folder", lambda: Path("/proc/cache"))
    monkeypatch.setattr(store, "_memory", {})
    assert store.cached(MACHINE).verdicts == VERDICTS


def test_shipped_verdicts_hold_for_all_machines_of_their_facts(tmp_path: Path) -> None:
    store.SHIPPED.mkdir()
    facts = {"device": "cpu", "instruction_set": "avx512"}
    store.write(store.SHIPPED / "avx512.json", Record(facts, VERDICTS, {"digest": "m"}))
    (store.SHIPPED / "damaged.json").write_text("{}")
    here = {**facts, "name": "some processor", "torch": "2.0"}
    assert store.shipped(here, store.SHIPPED) == Record(here, VERDICTS, {"digest": "m"})
    assert store.shipped({**here, "instruction_set": "avx2"}, store.SHIPPED).verdicts == []


def test_what_the_package_ships_is_whole() -> None:
    folder = Path(store.__file__).parent / "shipped"
    for path in folder.glob("*.json") if folder.is_dir() else ():
        assert store.parse(path).verdicts


HOLDER = """
import sys, time
from peclip_fast.ops.verdicts import store
with store.alone({"device": "cuda"}, 1):
    print("has it", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_waited_for_but_not_for_ever(cache: Path) -> None:
    """By whoever has it: one that has ended leaves none, one that hangs is overtaken."""
    machine = {"device": "cuda"}
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"has it\n"
        start = time.monotonic()
        with store.alone(machine, 0.5):
            assert 0.4 < time.monotonic() - start < 20
        holder.kill()
        holder.wait()
    assert list(cache.rglob(".lock")), "the file of a killed process is still there"
    start = time.monotonic()
    with store.alone(machine, 60):
        assert time.monotonic() - start < 20
