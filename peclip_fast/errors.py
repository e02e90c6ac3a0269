"""The one error for what a user gave us."""


class InputError(ValueError):
    """Something the user gave can't be used: a file, a list line, a tensor, an option.

    The message is one line that names the thing and says what was expected. The commands print it
    as ``error: <message>`` and exit with code 2; everything else that is raised is a bug of ours.
    """


def one_line(error: object) -> str:
    """A message without its line breaks."""
    return " ".join(str(error).split())
