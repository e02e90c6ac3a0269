"""``peclip-fast publish RUN``: a run's model, with its card, for others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peclip_fast.commands.shared.options import OF_MACHINE, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable

DESCRIPTION = """Write a run's model with its model card into a folder that works anywhere, or
upload it to the Hugging Face Hub, or both. The card (README.md) says what the model was trained and
tested on, with intervals, how its clips show a face, what it is for, and what nobody knows; read it
before you upload. `peclip_fast.from_pretrained` takes the folder, or the name on the Hub. The token
is that of `hf auth login`, or HF_TOKEN."""
_CHOICE = "--folder FOLDER, --to USER/NAME or both"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_publish, argv)


def _publish(argv: list[str]) -> None:
    line = run_line("publish", DESCRIPTION, f"RUN [{_CHOICE}] [options]", OF_MACHINE)
    line.add("run", metavar="RUN", help="the run folder")
    line.add("--folder", metavar="FOLDER", help="a new folder for the model")
    line.add("--to", metavar="USER/NAME", help="the model's name on the Hub")
    line.add("--revision", metavar="BRANCH", help="a branch there; main unless given")
    line.add("--private", action="store_true", help="a repository that is made is private")
    line.add("--licence", metavar="NAME", help="of the trained tensors, as the Hub names it: "
             "apache-2.0, cc-by-nc-4.0, ...; left open unless given")  # fmt: skip
    given = line.read(argv)
    own = given.own
    if own.folder is None and own.to is None:
        raise InputError(f"expected {_CHOICE}")
    if own.to is None and (own.revision is not None or own.private):
        raise InputError("--revision, --private: expected --to USER/NAME as well")
    run = RunFolder(Path(own.run))
    config = given.of_run(run)
    if own.folder is not None:
        _check_new(Path(own.folder))

    from peclip_fast.hub.card import YOURS, model_card
    from peclip_fast.hub.facts import run_facts
    from peclip_fast.hub.transfer import check_name
    from peclip_fast.models.pretrained import from_pretrained

    if own.to is not None:
        check_name(own.to)
    known = run_facts(config, run.report, run.crop)
    model = from_pretrained(run.model, **asdict(config.model))
    name = own.to or YOURS
    model.card = model_card(config.model, model.classes, known, name, own.licence)
    if own.folder is not None:
        model.save_pretrained(own.folder, whole=True)
        print(f"wrote {own.folder}; its card is {Path(own.folder) / 'README.md'}")
    if own.to is not None:
        print(f"uploaded as {model.push_to_hub(own.to, own.revision, private=own.private or None)}")
    if config.demo:
        print("a model of the built-in demo: trained on rendered faces", file=sys.stderr)


def _check_new(folder: Path) -> None:
    """Raise InputError unless a folder can be made, or is there and empty."""
    check_writable(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--folder {folder}: holds files already; expected a new folder")
