"""The script: its commands by what one wants to do, found lazily, with quick help and errors."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest

import peclip_fast
from peclip_fast.commands.shared import main as script
from peclip_fast.commands.shared.main import COMMANDS, main

ARGUMENTS = {"train": [], "info": [], "predict": ["run", "a"], "explain": ["run", "a"],
             "compare": ["a", "b"]}  # fmt: skip


def test_without_arguments_it_lists_the_commands(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == listed
    assert all(f"  {name} " in listed and text in listed for name, text in COMMANDS.items())
    assert listed.index("data pack") < listed.index("\n", listed.index("data pack"))


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"peclip-fast {peclip_fast.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "error: trian: no such command; did you mean train?"),
        (
            ["data"],
            "error: data: expected data check, data summary, data pack, data crop or data cues",
        ),
        (["data", "chek"], "error: data chek: no such command; did you mean data check?"),
        (["xyzzy"], "error: xyzzy: no such command; expected one of train, evaluate, "),
    ],
)
def test_no_such_command(argv, message, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_the_script_is_installed():
    found = importlib.metadata.entry_points(group="console_scripts", name="peclip-fast")
    assert {one.load() for one in found} == {script.script}


HELD_BACK = {"torch", "numpy", "open_clip", "lightning_fabric", "av", "matplotlib", "sklearn"}
CODE = f"""
import sys
from peclip_fast.commands.shared.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print({HELD_BACK} & sys.modules.keys(), file=sys.stderr)
sys.exit(code)
"""


def run(*argv: str, cwd) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", CODE, *argv], cwd=cwd, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_library_that_takes_long(name, tmp_path):
    ended = run(*name.split(), "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"usage: peclip-fast {name} ")
    assert ended.stderr == "set()\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_neither_does_a_misspelt_option(name, tmp_path):
    argv = [*name.split(), *ARGUMENTS.get(name, ["x"])]
    for option in ("--outptu", "--data.rot"):
        ended = run(*argv, option, "x", cwd=tmp_path)
        assert ended.returncode == 2
        error, loaded = ended.stderr.splitlines()
        assert error.startswith(f"error: unknown option {option}")
        assert loaded == "set()"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shown", "hidden"),
    [
        ("predict", ["--train.device", "--data.cues"], ["--model.reduction", "--train.epochs"]),
        ("evaluate", ["--data.test_list", "--train.device"], ["--model.prompts", "--train.lr"]),
        ("explain", ["--train.device"], ["--model.prompts", "--data.root", "--train.lr"]),
        ("data check", ["--data.root", "--data.frames"], ["--model.", "--train."]),
        ("info", ["--model.reduction"], ["--data.root", "--train."]),
        ("compare", [], ["--model.", "--data.", "--train."]),
        ("train", ["--model.reduction", "--train.lr.prompts", "--data.root"], ["--model.video_hi"]),
    ],
)
def test_help_shows_what_means_something_to_a_command(name, shown, hidden, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in shown)
    assert not [option for option in hidden if f"  {option}" in text]
    assert ("can be given, too" in text) == (name not in ("train", "compare"))


@pytest.mark.parametrize(
    "argv",
    [["--model.method", "finecliper"], ["--config", "dfew", "finecliper/all"],
     ["--model.method=finecliper"]],
)  # fmt: skip
def test_help_of_another_method(argv, capsys):
    with pytest.raises(SystemExit):
        main(["train", *argv, "--help"])
    text = capsys.readouterr().out
    assert "--model.video_hidden" in text
    assert "--model.reduction" not in text


def test_train_is_the_contracts_name(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "peclip_fast.train", "--data.fol", "3"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr == "error: unknown option --data.fol; did you mean --data.fold?\n"


def test_every_command_is_a_module_of_its_own():
    for name in COMMANDS:
        assert callable(script.command(name))
