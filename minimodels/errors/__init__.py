"""The one error class of this project.

`UserError` says what came, what was expected and what to do. It is a `ValueError`, so library callers can catch it as
one; the command lines print its text as one line and leave with exit code 2.
"""

import re

LONGEST = 4000  # letters of a message; what it quotes may be of any length
# What a terminal would obey, and what no file can hold: control characters, turns of direction, lone surrogates.
UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(ValueError):
    """Something the user gave cannot be used; the message says what it is, what was expected and what to do.

    The message is one line that can be printed, whatever it quotes: names come from files of unknown origin.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """The text on one line, without what cannot be printed, and not too long."""
    cut = message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    return UNPRINTABLE.sub(lambda found: " " if found[0] in "\t\n\r" else "?", cut)
