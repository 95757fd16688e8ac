"""The frame of the sweep: what counts as an outcome, what is written, what the book's page shows."""

import json
from types import ModuleType, SimpleNamespace

import pytest
import torch

from checkpoints_convert.proof.compare import TOLERANCE
from lessons.book import reference
from minimodels.errors import UserError
from tests import sweep as frame
from tests.sweep import Outcome, judge
from tests.sweep import __main__ as command

ONE = {"answer": torch.ones(2, dtype=torch.float64)}


def refusing():
    raise UserError("this is another model: a moon")


def test_what_an_outcome_is():
    agrees, differs = judge("n", "g", ONE, lambda: ONE), judge("n", "g", ONE, lambda: {"answer": ONE["answer"] + 1e-9})
    assert agrees == Outcome("n", "g", True, 0.0) and agrees.fine and not agrees.refused
    assert not differs.fine and not differs.refused and differs.difference > TOLERANCE and "WRONG" in str(differs)
    refused = judge("n", "g", ONE, refusing)
    assert refused == Outcome("n", "g", False, None, "this is another model: a moon") and refused.refused
    assert str(refused) == "refused  g: n: this is another model: a moon" and refused.fine
    assert not Outcome("n", "g", False, None, "two\nlines").fine
    assert not Outcome("n", "g", False, None, frame.BROKEN + "KeyError: 'nothing'").fine
    with pytest.raises(KeyError):
        judge("n", "g", ONE, dict)


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """A part with three names: one agrees, one is refused, one breaks."""

    def attempt(name, folder):
        assert folder.is_dir()
        if name == "moon":
            raise KeyError("nothing")
        return Outcome(name, "toy", name == "sun", 1e-15 if name == "sun" else None, "" if name == "sun" else "no star")

    part = ModuleType("tests.sweep.toy_names")
    part.NAMES, part.attempt, part.LIBRARIES = ["sun", "moon", "stone"], attempt, ("torch",)
    for module in (frame, command):
        monkeypatch.setattr(module, "parts", lambda: [part])
    monkeypatch.setattr(command, "JSON", tmp_path / "sweep.json")
    return SimpleNamespace(part=part, file=tmp_path / "sweep.json")


def test_an_exception_does_not_stop_the_others(pretended, capsys):
    assert command.main([]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "agrees   toy: sun: 1.0e-15" and printed[2] == "refused  toy: stone: no star"
    assert printed[1] == "WRONG    toy: moon: an exception: KeyError: 'nothing'"
    assert printed[3] == "1 WRONG, 1 agree, 1 refused" and not pretended.file.exists()


def test_only_some_names(pretended, capsys):
    assert command.main(["--only", "STONE"]) == 0 and command.main(["--only", "toy_names s"]) == 0
    assert capsys.readouterr().out.count("\n") == 2 + 3
    assert command.main(["--only", "comet"]) == 0 and capsys.readouterr().out == "no such name\n"


def test_the_table_that_is_written(pretended, capsys):
    command.main(["--write"])
    command.main(["--write", "--only", "sun"])  # the other rows stay
    written = json.loads(pretended.file.read_text())
    assert [row["name"] for row in written["rows"]] == pretended.part.NAMES
    assert written["versions"].keys() == {"torch"}
    pretended.part.NAMES.remove("moon")  # the library forgot it
    command.main(["--write", "--only", "sun"])
    assert [row["name"] for row in json.loads(pretended.file.read_text())["rows"]] == ["sun", "stone"]
    page = reference.sweep_page(json.loads(pretended.file.read_text()))
    assert "## toy\n" in page and "Of 2 names 1 agree and 1 are refused." in page
    assert "| `sun` | agrees | 1.0e-15 |  |" in page and "| `stone` | refused |  | no star |" in page
    assert "`python -m tests.sweep --write`" in page


class TestWritten:
    """The table in docs/data: run `python -m tests.sweep --write` (with --only where one library changed)."""

    @pytest.fixture(scope="class")
    def rows(self):
        return json.loads(command.JSON.read_text(encoding="utf-8"))["rows"]

    def test_every_name_of_today(self, rows):
        places = [command.place_of(row) for row in rows]
        for part in frame.parts():
            written = [name for library, name in places if library == frame.library_of(part)]
            assert written == list(part.NAMES), part.__name__

    def test_each_agrees_or_is_refused_in_one_line(self, rows):
        for row in rows:
            assert Outcome(**row).fine, row
            assert row["agrees"] == (row["difference"] is not None and row["difference"] <= TOLERANCE), row
