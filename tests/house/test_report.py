"""The parity table that is written down: its rows are those of today, its figures hold, the README shows the same."""

import json
import math

import pytest

from checkpoints_convert.proof.compare import TOLERANCE, Comparison, Row
from lessons.book.reference import parity_page
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


# ---------------------------------------------------------------- the columns of a GPU


def test_without_a_gpu_the_columns_say_so(data):
    for row in data["rows"]:
        assert set(report.GPU) <= row.keys(), AGAIN
        library = row["reference"] != "golden" and row["blocks"] is not None
        assert not library or all(row[key] == report.NOT_RUN or row[key] < 1e-1 for key in report.GPU), row
        assert row["cuda_float64"] in (None, report.NOT_RUN) or row["cuda_float64"] <= TOLERANCE, row
    assert report.NOT_RUN in parity_page({**data, "rows": [{**data["rows"][0], "cuda_float64": report.NOT_RUN}]})


def test_with_one_they_are_filled(monkeypatch, tmp_path):
    """The processor in the place of a GPU: every kind of row is measured there too, and nothing else changes."""
    monkeypatch.setattr(report, "SEEDS", 1)
    chosen = ("ViT beside timm", "DINOv2 registers beside golden", "ViT preprocess beside")
    one = [source for source in report.sources() if source.name.startswith(chosen)]
    assert len(one) >= 2
    monkeypatch.setattr(report, "sources", lambda: one)
    rows = {row["reference"]: row for row in report.measure(gpu="cpu")["rows"]}
    assert 0 < rows["timm"]["cuda_float64"] <= TOLERANCE and 0 < rows["timm"]["cuda_float32"] < 1e-3
    assert rows["timm"]["cuda_float64"] >= max(rows["timm"][key] for key in ("output", "blocks", "gradients"))
    assert 0 < rows["golden"]["cuda_float64"] <= TOLERANCE and rows["golden"]["cuda_bfloat16"] is None


def test_what_was_measured_on_one_stays(monkeypatch, tmp_path):
    """A run without a GPU keeps the figures of the last run that had one."""
    written = {"rows": [{"model": "ViT", "reference": "timm", "cuda_float64": 3e-13, "cuda_float32": 1e-6}]}
    (tmp_path / "parity.json").write_text(json.dumps(written))
    monkeypatch.setattr(report, "JSON", tmp_path / "parity.json")
    monkeypatch.setattr(report, "SEEDS", 1)
    one = [source for source in report.sources() if source.name == "ViT beside timm"]
    monkeypatch.setattr(report, "sources", lambda: one)
    (row,) = report.measure()["rows"]
    assert (row["cuda_float64"], row["cuda_float32"], row["cuda_bfloat16"]) == (3e-13, 1e-6, report.NOT_RUN)


def test_bfloat16_is_measured_where_it_counts():
    """What a comparison says of a lower format comes into its column."""
    row = Row("output", "a", "b", (1,), (1,), 1e-14, 2e-13, {"float32": 1e-6, "bfloat16": 3e-3})
    found = report.gpu_figures([Comparison("t", [row]), Comparison("t", [])])
    assert found == {"cuda_float64": 2e-13, "cuda_float32": 1e-6, "cuda_bfloat16": 3e-3}
    assert report.gpu_figures([]) == {}
