"""The example for Slurm: its shell, Slurm's options, torchrun's and ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser, parse_min_max_nnodes

from peclip_fast.commands import train

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"
SCRIPT = FOLDER / "train.sbatch"
# Of sbatch(1) and srun(1), with what their values look like; None takes none.
SBATCH = {
    "job-name": r"[\w-]+", "nodes": r"\d+", "ntasks-per-node": "1", "gpus-per-node": r"\d+",
    "cpus-per-task": r"\d+", "time": r"\d\d:\d\d:\d\d", "signal": r"TERM@\d+", "requeue": None,
    "no-kill": None, "open-mode": "append", "output": r"\S+\.log",
}  # fmt: skip
SRUN = {"--no-kill", "--kill-on-bad-exit=0"}
# Stands for srun: says what it was given. Slurm's scontrol gives the nodes' names.
SRUN_STAND_IN = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
SCONTROL_STAND_IN = "#!/bin/sh\nprintf 'node7\\nnode8\\n'\n"


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """What the script has srun do on two nodes."""
    for name, text in (("srun", SRUN_STAND_IN), ("scontrol", SCONTROL_STAND_IN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    slurm = {"JOB_NODELIST": "node[7-8]", "JOB_NUM_NODES": "2", "JOB_ID": "4711"}
    environment = {f"SLURM_{name}": value for name, value in slurm.items()}
    environment |= {"SLURM_JOB_NAME": "dfew-1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(
        ["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=True
    )
    return list(json.loads(said.stdout))


def test_its_shell() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    assert SCRIPT.read_text().startswith("#!/bin/bash\n#SBATCH ")
    assert '--8<-- "docs/tutorials/train.sbatch"' in (FOLDER / "many-machines.md").read_text()


def test_what_it_asks_of_slurm() -> None:
    lines = re.findall(r"^#SBATCH (.*)$", SCRIPT.read_text(), re.MULTILINE)
    given = dict(re.fullmatch(r"--([\w-]+)(?:=(\S+))?", line).groups() for line in lines)  # type: ignore[union-attr]
    assert len(given) == len(lines)
    for name, value in given.items():
        assert name in SBATCH, name
        assert (value is None) == (SBATCH[name] is None), name
        assert value is None or re.fullmatch(SBATCH[name], value), (name, value)


def test_what_it_asks_of_torchrun(asked: list[str]) -> None:
    start = asked.index("torchrun")
    assert set(asked[:start]) <= SRUN
    given = get_args_parser().parse_args(asked[start + 1 :])
    assert parse_min_max_nnodes(given.nnodes) == (1, 2)
    assert (given.rdzv_backend, given.rdzv_endpoint) == ("c10d", "node7:29500")
    assert (given.rdzv_id, given.max_restarts > 0) == ("4711", True)
    assert (given.module, given.training_script) == (True, "peclip_fast.train")
    gpus = re.search(r"gpus-per-node=(\d+)", SCRIPT.read_text())
    assert gpus is not None
    assert given.nproc_per_node == gpus[1]


def test_what_it_asks_of_us(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = get_args_parser().parse_args(asked[asked.index("torchrun") + 1 :]).training_script_args
    config, run = train._read(argv)
    assert "--resume" in argv
    assert run.path == Path("runs/dfew-1")
    assert config.train.batch_size % (2 * 4) == 0
    assert not run.path.exists()
