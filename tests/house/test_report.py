"""The parity table that is written down: its rows are those of today, its figures hold, the README shows the same."""

import json
import math

import pytest

from checkpoints_convert.proof.compare import TOLERANCE
from tests import report
from tests.golden import Line


@pytest.fixture(scope="module")
def data():
    return json.loads(report.JSON.read_text(encoding="utf-8"))


AGAIN = f"run `{report.COMMAND}` again"


def test_same_rows_as_today(data):
    written = [(row["model"], row["reference"]) for row in data["rows"]]
    assert written == [(source.model, source.reference) for source in report.sources()], AGAIN


def test_every_figure_holds(data):
    for row in data["rows"]:
        figures = [row[key] for key in ("output", "blocks", "gradients")]
        assert all(figure is None or 0 <= figure <= TOLERANCE for figure in figures), row
        assert any(figure is not None for figure in (*figures, row["float32"])), row
        assert row["float32"] is None or 0 <= row["float32"] < 1e-3, row
        library = row["reference"] not in ("golden", "torchvision") and row["blocks"] is not None
        assert not library or row["gradients"] is not None, row


def test_lines_are_counted_today(data):
    """Within a few lines; the table need not be written again for each of them."""
    for row in data["rows"]:
        today = report.lines_of(row["model"])
        assert (row["lines"] is None) == (today is None)
        assert today is None or math.isclose(row["lines"], today, rel_tol=0.05, abs_tol=3), f"{row['model']}: {AGAIN}"


def test_the_readme_shows_it(data):
    text = report.README.read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    assert report.put_into_readme(text, report.markdown(data)) == text, AGAIN


def test_a_table_is_put_between_its_marks():
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.put_into_readme(text, "new") == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"


def test_figures_in_words():
    row = {"model": "M", "reference": "r", "output": 0.0, "blocks": 2.34e-15, "gradients": None, "float32": 1e-6}
    line = report.markdown({"rows": [{**row, "lines": 12}]}).splitlines()[-1]
    assert line == "| M | r | equal | 2e-15 |  | 1e-06 | 12 |"
    assert report.largest([Line("a", True, "", 1e-12), Line("b", True, "", 3e-12), Line("c", True, "")]) == 3e-12
    assert report.largest([Line("a", True, "")], exact=0.0) == 0.0 and report.largest([], exact=0.0) is None
