"""What all commands share: how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from peclip_fast.errors import InputError, one_line

USER_ERROR, INTERRUPTED = 2, 130


def run_command(command: Callable[[list[str]], int | None], argv: Sequence[str] | None) -> int:
    """Run a command and return its exit code, which is 0 unless it returns another.

    What the user gave wrongly (InputError), a disk that is full or read-only (OSError) and too
    little GPU memory end in one line ``error: ...`` and code 2. Bugs keep their traceback.
    """
    try:
        code = command(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code or 0
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
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    print(f"error: {one_line(message)}", file=sys.stderr)
    return USER_ERROR
