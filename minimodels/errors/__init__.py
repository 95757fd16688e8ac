"""The one error class of this project.

`UserError` says what came, what was expected and what to do. It is a `ValueError`, so library callers can catch it as
one; the command lines print its text as one line and leave with exit code 2.
"""


class UserError(ValueError):
    """Something the user gave cannot be used; the message says what it is, what was expected and what to do."""
