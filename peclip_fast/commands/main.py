"""The script ``peclip-fast``: finds a command and runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from peclip_fast.commands.running import run_command

# What one wants to do, and the commands for it: name, module, sentence.
GROUPS: dict[str, dict[str, str]] = {
    "Train a model and see how good it is": {
        "train": "train a model on a dataset and test it",
        "evaluate": "test a trained model, also on other clips",
        "compare": "say whether one run is better than another, and whether that is luck",
        "experiment": "train every row of a published table",
    },
    "Use a trained model": {
        "predict": "class probabilities of your own clips",
        "explain": "draw where the model looks in a clip",
        "embed": "draw a map of the test clips",
    },
    "Prepare a dataset": {
        "data check": "list the clips that can't be used",
        "data summary": "count clips, lengths, sizes and codecs, and draw a sheet of them",
        "data pack": "copy the clips into the form that is read fastest",
        "data cues": "find the face's landmarks and regions in every frame",
        "describe": "have an LLM describe each clip",
    },
    "Look around": {
        "info": "count trained parameters, and say which kernels would run",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv in (["-h"], ["--help"]):
        print(usage())
        return 0
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in COMMANDS:
            return run_command(partial(_load_and_run, name), argv[words:])
    print(
        f"error: {argv[0]}: no such command; expected one of {', '.join(COMMANDS)}", file=sys.stderr
    )
    return 2


def _load_and_run(name: str, argv: list[str]) -> int:
    """The import takes seconds, in which a command may be interrupted as well."""
    module = import_module(f"peclip_fast.commands.{name.replace(' ', '_')}")
    code: int = module.main(argv)
    return code


def usage() -> str:
    """All commands, by what one wants to do."""
    width = max(map(len, COMMANDS))
    lines = ["usage: peclip-fast COMMAND ...", ""]
    for title, commands in GROUPS.items():
        lines += [title, *(f"  {name:<{width}}  {text}" for name, text in commands.items()), ""]
    return "\n".join([*lines, "peclip-fast COMMAND --help lists the options of a command."])
