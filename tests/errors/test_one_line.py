"""A message is one line that can be printed, whatever it quotes."""

import pytest

from minimodels.errors import LONGEST, UserError
from minimodels.errors.untrusted import Unreadable


@pytest.mark.parametrize("kind", [UserError, Unreadable])
def test_what_a_file_holds_is_quoted_harmlessly(kind):
    error = kind("a\nb\r\tc \x1b[2J \x00 \x85 \ud800 \u202e \u2028 é 猫 🚀")
    assert str(error) == "a b  c ?[2J ? ? ? ? ? é 猫 🚀"
    assert str(error).encode()
    assert error.args == (str(error),)


def test_a_long_message_keeps_its_ends():
    whole = "first " + "x" * (LONGEST - 11) + " last"
    assert str(UserError(whole)) == whole and len(whole) == LONGEST
    cut = str(UserError("first " + "x" * 100_000 + " last"))
    assert cut.startswith("first x") and cut.endswith("x last") and " ... " in cut
    assert len(cut) == LONGEST + len(" ... ")
