"""The script ``peclip-fast``: finds a command and runs it."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from peclip_fast.commands.shared.running import leave, run_command
from peclip_fast.commands.shared.streams import prepare_streams
from peclip_fast.errors import InputError, hint
from peclip_fast.version import __version__

# What one wants to do, and the commands for it. Each has a module of its name in `commands`.
GROUPS: dict[str, dict[str, str]] = {
    "Train a model and see how good it is": {
        "train": "train a model on a dataset and test it",
        "evaluate": "test a trained model, also on other clips",
        "compare": "say whether one run is better than another, or whether that is luck",
        "experiment": "train every row of a published table",
    },
    "Use a trained model": {
        "predict": "class probabilities of your own clips",
        "analyze": "who shows what, when, in any video",
        "serve": "a page and an API on which videos are analyzed",
        "explain": "draw where the model looks in a clip",
        "embed": "draw a map of the test clips",
        "export": "write a model as one ONNX, PyTorch or OpenVINO file",
        "publish": "upload a model with its card to the Hugging Face Hub",
    },
    "Prepare a dataset": {
        "data check": "list the clips that can't be used",
        "data summary": "count clips, lengths, sizes and codecs, and draw a sheet of them",
        "data pack": "copy the clips into the form that is read fastest",
        "data crop": "cut the faces out of whole videos",
        "data cues": "find the face's landmarks and regions in every frame",
        "describe": "have an LLM describe each clip",
    },
    "Look around": {
        "info": "count trained parameters, and say which kernels would run",
        "check-gpu": "check and time the kernels on this machine",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in COMMANDS:  # signals are answered while it is imported, too
            return run_command(functools.partial(_run, name), argv[words:])
    return run_command(_without_command, argv)


def script(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command as all that this process does."""
    prepare_streams()
    # Without a home directory it says at length that it uses a temporary one.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    leave(main(argv))


def command(name: str) -> Callable[[Sequence[str]], int]:
    """The function that runs a command."""
    module = import_module(f"peclip_fast.commands.{name.replace(' ', '.').replace('-', '.')}")
    run: Callable[[Sequence[str]], int] = module.main
    return run


def _run(name: str, argv: Sequence[str]) -> int:
    return command(name)(argv)


def usage() -> str:
    """All commands, by what one wants to do."""
    width = max(map(len, COMMANDS))
    lines = ["usage: peclip-fast COMMAND ...", ""]
    for title, commands in GROUPS.items():
        lines += [title, *(f"  {name:<{width}}  {text}" for name, text in commands.items()), ""]
    return "\n".join([*lines, "peclip-fast COMMAND --help lists the options of a command."])


def _without_command(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
    elif argv[0] == "--version":
        print(f"peclip-fast {__version__}")
    else:
        group = [name for name in COMMANDS if name.startswith(f"{argv[0]} ")]
        if group and len(argv) == 1:
            expected = f"{', '.join(group[:-1])} or {group[-1]}"
            raise InputError(f"{argv[0]}: expected {expected}")
        name = " ".join(argv[: 2 if group else 1])
        told = hint(name, COMMANDS) or f"; expected one of {', '.join(COMMANDS)}"
        raise InputError(f"{name}: no such command{told}")
