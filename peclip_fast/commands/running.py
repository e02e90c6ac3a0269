"""What all commands share: how they end."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from peclip_fast.errors import InputError, one_line, printable
from peclip_fast.stopping import Stopped, watch

USER_ERROR = 2
_PYTHONS_FORM = warnings.formatwarning


def run_command(command: Callable[[list[str]], int | None], argv: Sequence[str] | None) -> int:
    """Run a command and return its exit code, which is 0 unless it returns another.

    What the user gave wrongly (InputError), a disk that is full or read-only (OSError) and too
    little GPU memory end in one line ``error: ...`` and code 2. Bugs keep their traceback. SIGINT
    and SIGTERM end in a line that says how to go on, where one can, and the codes 130 and 143; a
    second one ends the command at once.
    """
    warnings.formatwarning = _warning
    try:
        with watch(second_ends=True):
            code = command(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
            return code or 0
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        if os.environ.get("RANK", "0") == "0":  # one process speaks for all
            print(stopped, file=sys.stderr)
        return stopped.exit_code
    except InputError as error:
        message = str(error)
    except BrokenPipeError:  # the reader of our output has gone, as in `predict ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which not every command imports
            raise
        message = f"{error}; lower train.batch_size (and raise train.accumulate)"
    print(f"error: {one_line(message)}", file=sys.stderr)
    return USER_ERROR


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
