"""What all commands share: how they end."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from peclip_fast.commands.shared.streams import OUTPUT_NAME
from peclip_fast.errors import InputError, SharedError, one_line, printable
from peclip_fast.stopping import Stopped, named, watch

USER_ERROR = 2
_PYTHONS_FORM = warnings.formatwarning


def run_command(command: Callable[[list[str]], int | None], argv: Sequence[str] | None) -> int:
    """Run a command and return its exit code, which is 0 unless it returns another.

    What the user gave wrongly (InputError), a disk that is full or read-only (OSError), another
    process of a run that has ended (ConnectionError) and too little memory end in one line
    ``error: ...`` and code 2. Bugs keep their traceback. SIGINT, SIGTERM and SIGHUP end in a line
    that says how to go on, where one can, and the codes 130, 143 and 129; a second one ends the
    command at once. A reader of the output who has gone, as in ``predict ... | head -1``, is no
    error where all work was done.
    """
    warnings.formatwarning = _warning
    try:
        with watch(second_ends=True), named():
            code = command(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
            return code or 0
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        if _speaks():
            print(stopped, file=sys.stderr)
        return stopped.exit_code
    except InputError as error:
        if isinstance(error, SharedError) and not _speaks():
            return USER_ERROR
        message = str(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and error.filename == OUTPUT_NAME:
            return 0
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        message = f"{str(error) or 'out of memory'}; lower train.batch_size"
        message += " (and raise train.accumulate) or data.num_workers"
    print(f"error: {one_line(message)}", file=sys.stderr)
    return USER_ERROR


def _speaks() -> bool:
    """Whether this is the one of a run's processes that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _out_of_memory(error: Exception) -> bool:
    """Of Python, of torch on a GPU, whose class not every command imports, or on the CPU."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "DefaultCPUAllocator" in str(error)


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning of ours in one line, as users have no use for the place in the source."""
    if category.__module__.startswith("peclip_fast."):
        return f"warning: {printable(one_line(message))}\n"
    return _PYTHONS_FORM(message, category, filename, lineno, line)


def leave(code: int) -> NoReturn:
    """End the process with an exit code.

    One of several processes leaves Python as it is. Threads of PyTorch's process group may want
    the interpreter once more, and where it is being taken down that aborts the process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
