"""The builder of the book on a small lesson of its own, and the real book: recordings fresh, sources found."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from lessons.book import __main__, exercises, notebook, pages, recording, reference, runner, text
from lessons.book.diagrams import Table
from lessons.book.text import BookError, Cell, expand, find_lessons, fingerprint, read_cells, read_lesson, source

LESSON = '''"""A small lesson: counting

What is one and one? A lead of
two lines.

nav: Counting
minutes: 3
needs: 9.2
paper: [Peano 1889](https://example.org/peano), section 1
"""

# %% [markdown]
# ## The question
# ::predict answer="{=total}|two"
#     One and one?
#
#     ---
#     It is {=total}.

# %%
from pathlib import Path

from lessons.book.diagrams import Drawing, Table, show

numbers = [int(line) for line in Path("numbers.txt").read_text().split()]
total = sum(numbers)
print("sum", total)
total

# %% alt="a line that rises" caption="Rising."
import matplotlib.pyplot as plt

plt.plot(numbers)
plt.show()

# %% hide-input
drawing = Drawing(100, 40, "one box")
drawing.box(5, 5, 90, 30, "box")
show(drawing)
show(Table(["n", "square"], [[n, n * n] for n in numbers]))

# %% [markdown]
# So {=total} is {=total / 4:.0%} of four.
#
# ::source small.module.Adder.add
#
# ::quiz
#     Which?
#
#     - [ ] three :: too many
#     - [x] two :: counted
'''
MODULE = '''"""A module."""

LIMIT = 3


class Adder:
    """Adds."""

    def add(self, a, b):
        """The sum."""
        # section: middle
        total = a + b
        # end: middle
        return total
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A repository with one lesson, recorded once."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "lessons" / "2_transformers").mkdir(parents=True)
    (folder / "small").mkdir()
    (folder / "small" / "module.py").write_text(MODULE)
    (folder / "numbers.txt").write_text("1\n1\n")
    path = folder / "lessons" / "2_transformers" / "98_counting.py"
    path.write_text(LESSON)
    (folder / "lessons" / "book").mkdir()
    book = ("__init__", "definitions", "diagrams", "runner", "text", "tracing")
    for name in ("__init__.py", *(f"book/{module}.py" for module in book)):
        shutil.copy(text.ROOT / "lessons" / name, folder / "lessons" / name)
    done = run(folder, read_lesson(path))
    assert done.returncode == 0, done.stderr
    return folder


def run(folder, lesson):
    """The recorder in its own process."""
    out = folder / "docs" / "outputs" / lesson.key
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = [sys.executable, "-m", "lessons.book.runner", str(lesson.path), str(out)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def little(whole, tmp_path, monkeypatch):
    """A copy of that repository; the builder's folders point there."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for module in (recording, text):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for module in (recording, pages, text, notebook):
        monkeypatch.setattr(module, "OUTPUTS", tmp_path / "docs" / "outputs")
    monkeypatch.setattr(pages, "PAGES", tmp_path / "docs" / "lessons")
    monkeypatch.setattr(pages, "FILES", tmp_path / "docs" / "files")
    monkeypatch.setattr(text.find_lessons, "__defaults__", (tmp_path / "lessons",))
    monkeypatch.setattr(text.source, "__defaults__", (tmp_path,))
    text._lessons.cache_clear()
    yield tmp_path
    text._lessons.cache_clear()


@pytest.fixture
def lesson(little):
    return read_lesson(little / "lessons" / "2_transformers" / "98_counting.py")


# ---------------------------------------------------------------- reading
def test_front_matter_and_cells(lesson):
    assert (lesson.number, lesson.title, lesson.part) == ("2.98", "A small lesson: counting", "2_transformers")
    assert lesson.lead == "What is one and one? A lead of\ntwo lines."
    assert lesson.about["minutes"] == "3" and lesson.about["nav"] == "Counting"
    cells = list(lesson.cells())
    assert [cell.kind for cell in cells] == ["text", "code", "code", "code", "text"]
    assert cells[2].options == {"alt": "a line that rises", "caption": "Rising."}
    assert cells[0].values == ["total", "total"]
    for cell in cells:
        first = lesson.path.read_text().splitlines()[cell.line - 1]
        assert first.removeprefix("# ") == cell.body.splitlines()[0]


def test_a_broken_lesson_says_so_and_breaks_no_other(little):
    (little / "lessons" / "2_transformers" / "97_broken.py").write_text('"""Broken\n\nminutes: 3\n"""\nif:\n')
    (little / "lessons" / "2_transformers" / "99_bare.py").write_text("print(1)\n")
    lessons = find_lessons(little / "lessons")
    assert ["broken" in one.about for one in lessons] == [True, False, True]
    made, troubles = pages.write_pages()
    assert [page.rpartition("/")[2] for page in made["2_transformers"]] == ["index.md", "98_counting.md"]
    assert any("97_broken.py" in trouble for trouble in troubles) and any("no docstring" in t for t in troubles)


# ---------------------------------------------------------------- fingerprints
def test_comments_docstrings_and_line_ends_change_no_fingerprint(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('"""Doc."""\n\n\ndef f(x):\n    """What."""\n    return x + 1\n')
    before = fingerprint(file)
    file.write_text('"""Other."""\n# note\ndef f(x):\n\n    return (x +\n        1)  # comment\n')
    assert fingerprint(file) == before
    file.write_text("def f(x):\n    return x + 2\n")
    assert fingerprint(file) != before
    text = tmp_path / "a.txt"
    text.write_bytes(b"one\r\ntwo\r\n")
    before = fingerprint(text)
    text.write_bytes(b"one\ntwo\n")
    assert fingerprint(text) == before


def test_moving_a_line_to_another_cell_changes_the_fingerprint(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('"""T"""\n# %%\na = 1\nprint(a)\n# %%\nb = 2\n')
    before = fingerprint(file)
    file.write_text('"""T"""\n# %%\na = 1\n# %%\nprint(a)\nb = 2\n')
    assert fingerprint(file) != before


def test_fingerprints_do_not_depend_on_the_python_version(tmp_path):
    """A known value: whoever records with another Python gets it too."""
    file = tmp_path / "a.py"
    file.write_text(
        "import a\n\n\n@a.b\nasync def f(x: int = 1, *, y=None) -> str:\n    async with x as z:\n"
        "        return f'{x!r:>{y}} {z}' 'and' f\"{z['q']}\"\n\n\nclass C(a.D):\n    e: list = [-1, 2.5e3, b'f']\n"
    )
    assert fingerprint(file) == "c8dff55e8caa3b2c"


# ---------------------------------------------------------------- running and writing
def test_a_lesson_is_recorded_and_becomes_a_page(little, lesson):
    record = text.recording(lesson)
    assert record["cells"][0] == [{"text": "sum 2\n2\n"}]
    assert [sorted(output) for output in record["cells"][2]] == [["file"], ["markdown", "text"]]
    assert record["values"] == {"total": "2", "total / 4:.0%": "50%"}
    whole = {name for name, known in record["used"].items() if isinstance(known, str)}
    assert whole == {"numbers.txt", "lessons/2_transformers/98_counting.py"}
    assert set(record["used"]) == whole | {"lessons/book/diagrams.py"}
    assert {"Table", "Table.__init__", "Drawing.box", "show"} <= set(record["used"]["lessons/book/diagrams.py"])
    assert str(little) not in json.dumps(record)
    assert recording.stale(lesson) == []
    page = pages.lesson_page(lesson)
    assert '# <span class="number">2.98</span> A small lesson: counting' in page
    assert "So 2 is 50% of four." in page and 'data-answer="2|two"' in page
    assert "![a line that rises](../../outputs/2_transformers/98_counting/cell02a.png)" in page
    assert 'aria-label="one box"' in page and "<figcaption" in page and "| 1 | 1 |" in page
    assert "total = a + b" in page and 'title="small/module.py" linenums="9"' in page
    assert "drawing = Drawing" not in page  # hide-input
    assert "{=" not in page and "::" not in page


def test_pages_index_and_download_are_written_and_old_ones_removed(little, lesson):
    old = little / "docs" / "lessons" / "2_transformers" / "01_gone.md"
    old.parent.mkdir(parents=True)
    old.write_text("gone")
    made, troubles = pages.write_pages()
    assert troubles == [] and not old.exists()
    assert made == {"2_transformers": ["lessons/2_transformers/index.md", "lessons/2_transformers/98_counting.md"]}
    index = (little / "docs" / "lessons" / "2_transformers" / "index.md").read_text()
    assert "[2.98 A small lesson: counting](98_counting.md)" in index and "What is one and one?" in index
    assert (little / "docs" / "files" / "2_transformers" / "98_counting.py").read_text() == LESSON
    stamp = (little / "docs" / "lessons" / "2_transformers" / "98_counting.md").stat().st_mtime_ns
    pages.write_pages()
    assert (little / "docs" / "lessons" / "2_transformers" / "98_counting.md").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda repository, path: (repository / "numbers.txt").write_text("1 2"), "numbers.txt changed"),
        (lambda repository, path: (repository / "numbers.txt").unlink(), "numbers.txt is gone"),
        (lambda repository, path: path.write_text(LESSON.replace('"sum"', '"total"')), "98_counting.py changed"),
        (lambda repository, path: path.write_text(LESSON + "#\n# And {=total + 1}.\n"), "total + 1"),
        (lambda repository, path: next(repository.rglob("cell02a.png")).unlink(), "cell02a.png is missing"),
    ],
)
def test_stale_recordings_are_found(little, lesson, change, reason):
    change(little, lesson.path)
    assert any(reason in why for why in recording.stale(lesson))
    pages.lesson_page(lesson)  # still a page
    assert any("out of date" in trouble for trouble in pages.write_pages()[1])


def test_prose_changes_need_no_new_recording(little, lesson):
    lesson.path.write_text(LESSON.replace("# ## The question", "# ## Another question\n# With more words.\n#"))
    assert recording.stale(lesson) == [] and "Another question" in pages.lesson_page(lesson)


def test_a_failing_cell_names_its_line_and_leaves_the_old_recording(little, lesson, capsys, monkeypatch):
    lesson.path.write_text(LESSON.replace('print("sum", total)', "total / 0").partition("# %% alt")[0])
    done = run(little, lesson)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    line = next(number for number, text in enumerate(lesson.path.read_text().splitlines(), 1) if "total / 0" in text)
    assert f"line {line}" in done.stderr and not (little / "docs" / "outputs" / lesson.key / "record.json").exists()
    kept = little / "docs" / "outputs" / lesson.key / "record.json"
    kept.write_text("{}")
    with pytest.raises(BookError, match="old recording stays"):
        recording.record(lesson)
    assert kept.read_text() == "{}"


def test_figures_need_words(little, lesson):
    lesson.path.write_text(LESSON.replace('alt="a line that rises" ', ""))
    with pytest.raises(BookError, match="say what it shows"):
        pages.lesson_page(lesson)


def test_a_second_title_is_refused(little, lesson):
    lesson.path.write_text(LESSON.replace("# ## The question", "# # The question"))
    with pytest.raises(BookError, match="competes with the title"):
        pages.lesson_page(lesson)


def test_two_recordings_are_compared_number_by_number():
    old = {"values": {"a": "0.913"}, "cells": [[{"text": "loss 1.000 after 3 steps\n"}]]}
    near = {"values": {"a": "0.914"}, "cells": [[{"text": "loss 1.001 after 3 steps\n"}]]}
    far = {"values": {"a": "0.5"}, "cells": [[{"text": "lost 1.000 after 3 steps\n"}]]}
    assert runner.differences(old, near) == []
    assert len(runner.differences(old, far)) == 2
    assert runner.differences(old, {"values": {"a": "0.913"}, "cells": []}) == ["1 cells / 0 cells"]


# ---------------------------------------------------------------- sources and directives
def test_source_by_name_section_and_without_docstrings(little):
    assert source("small.module.LIMIT").code == "LIMIT = 3"
    assert source("small.module.Adder.add").code.startswith("def add(self, a, b):")
    middle = source("small.module#middle")
    assert (middle.code, middle.line) == ("total = a + b", 12)
    assert '"""' not in text.without_docstrings(source("small.module.Adder").code)


@pytest.mark.parametrize("name", ["small.nowhere", "nothing.at.all", "small.module.Gone", "small.module#gone"])
def test_a_missing_source_stops_the_page(little, name):
    with pytest.raises(BookError, match="gone|Gone|nowhere|nothing"):
        expand(f"text\n\n::source {name}\n", "index.md")


def test_unknown_directives_and_broken_quizzes_are_refused(little):
    with pytest.raises(BookError, match="unknown directive ::sauce"):
        expand("::sauce a.b", "index.md")
    with pytest.raises(BookError, match="exactly one"):
        expand("::quiz\n    Q?\n\n    - [ ] a :: b\n", "index.md")


def test_fences_are_left_alone(little):
    text = "```\n::source not.expanded\n```"
    assert expand(text, "index.md") == text


def test_lesson_links_know_where_they_stand(little):
    assert expand("see [[2.98]] and [[2.1]]", "lessons/2_transformers/98_counting.md") == (
        "see [2.98 Counting](../../lessons/2_transformers/98_counting.md) and 2.1"
    )
    assert "(lessons/2_transformers/98_counting.md)" in expand("[[2.98]]", "index.md")


def test_notebooks_are_whole(little, lesson):
    made = notebook.notebook(lesson)
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert code[1]["outputs"][0]["text"] == ["sum 2\n", "2\n"]
    kinds = [sorted(output["data"]) for cell in code for output in cell["outputs"] if "data" in output]
    assert ["image/png", "text/plain"] in kinds and ["image/svg+xml", "text/plain"] in kinds
    text = "".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert "So 2 is 50% of four." in text and "```python\ndef add" in text and "markdown=" not in text
    assert "<details" in text and "<input" not in text


def test_folds_of_a_page_become_folds_of_a_notebook():
    text = 'a\n\n??? hint "Why"\n    because\n\n    ```\n    code\n    ```\n\n!!! note\n    well\n\nb'
    assert notebook.plain(text) == (
        "a\n\n<details>\n<summary>Why</summary>\n\nbecause\n\n```\ncode\n```\n\n</details>\n\n**Note**\n\nwell\n\nb"
    )


def test_the_command_line(little, lesson, capsys):
    assert __main__.main(["--check"]) == 0 and "as recorded" in capsys.readouterr().out
    assert __main__.main(["7.7"]) == 2 and "known: 2.98" in capsys.readouterr().err
    (little / "numbers.txt").write_text("3")
    assert __main__.main(["--check"]) == 1 and "numbers.txt" in capsys.readouterr().out
    assert __main__.main(["--notebooks", str(little / "nb")]) == 0
    assert json.loads((little / "nb" / "2_transformers" / "98_counting.ipynb").read_text())["cells"]


# ---------------------------------------------------------------- tables, terms, exercises
def test_tables_align_numbers():
    made = Table(["name", "part"], [["a", "1.5 %"], ["bc", "12 %"]])
    assert made._repr_markdown_().splitlines()[1] == "| :--- | ---: |"
    assert repr(made).splitlines()[2] == "a     1.5 %"
    with pytest.raises(ValueError, match="2 headings, but a row of 1 cells"):
        Table(["a", "b"], [["only"]])


def test_reports_come_from_their_files():
    row = {"model": "ViT", "reference": "timm", "what": "2 x 3", "output": 2.3e-15, "blocks": 0.0, "gradients": 1e-13}
    page = reference.parity_page({"command": "pytest", "versions": {"torch": "2.15"}, "rows": [row]})
    assert "2.3e-15" in page and "| model | reference | configuration | output | blocks | gradients |" in page
    bench = {
        "command": "make bench",
        "machine": "a laptop",
        "rows": [{"work": "ViT", "ours_ms": 12.3456, "ratio": 0.98}],
    }
    assert "12.3" in reference.bench_page(bench) and "a laptop" in reference.bench_page(bench)


def test_tooltips_stand_at_the_first_mention():
    abbr = '<abbr title="T">token</abbr>'
    page = f"<h2>{abbr}</h2><p>{abbr} {abbr}</p><a href='x'>{abbr}</a>"
    kept = reference.first_mentions(page)
    assert kept.count("<abbr") == 1 and kept.startswith(
        '<h2>token</h2><p><abbr title="T" tabindex="0">token</abbr> token'
    )


def test_code_lines_leave_out_comments_and_docstrings():
    assert reference.code_lines(MODULE) == 5


def test_exercise_text_is_not_markup():
    text = exercises.markdown("Like torch.cat((a, b), dim=1) of _x_ *y*.\n\n    a_b * c\n\nUse `q`.")
    assert text == "Like `torch.cat((a, b), dim=1)` of \\_x\\_ \\*y\\*.\n\n``` text\na_b * c\n```\n\nUse `q`."


def test_every_exercise_can_be_shown():
    for number in exercises.catalogue():
        assert f"python -m lessons start {number}" in exercises.exercise(number)


# ---------------------------------------------------------------- the real book
def test_recordings_are_up_to_date():
    """Re-record what is named here: python -m lessons.book"""
    assert {lesson.script: why for lesson in find_lessons() if (why := recording.stale(lesson))} == {}


def test_every_lesson_makes_a_page_and_a_notebook():
    for lesson in find_lessons():
        assert pages.lesson_page(lesson) and notebook.notebook(lesson)["cells"]


def test_lesson_scripts_keep_the_form():
    """Code lines of cells at most 78 columns; heading levels without jumps."""
    wide, jumps = [], []
    for lesson in find_lessons():
        level = 1
        for cell in lesson.cells():
            wide += [f"{lesson.script}:{cell.line + n}" for n, line in enumerate(cell.body.splitlines())
                     if cell.kind == "code" and len(line) > 78]  # fmt: skip
            for line in headings(cell):
                depth = len(line) - len(line.lstrip("#"))
                jumps += [f"{lesson.script}: {line}"] if depth > level + 1 else []
                level = depth
    assert not wide + jumps, "\n".join(wide + jumps)


def headings(cell: Cell) -> list[str]:
    text = cell.body if cell.kind == "text" else ""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [line for line in outside.splitlines() if re.match(r"#+ ", line)]


def test_cells_of_a_script_without_markers():
    assert list(read_cells("print(1)\n")) == []
