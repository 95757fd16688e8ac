"""python -m lessons: what a learner and a teacher type, and what they read."""

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from lessons.__main__ import main
from lessons.checker.exercises import catalogue
from lessons.desk import commands, progress


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A learner's own folder."""
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "my"))
    return tmp_path / "my"


@pytest.fixture
def type_in(capsys, folder):
    """Type a command: exit code, what it printed, what it complained."""

    def run(line):
        code = main(line.split())
        shown = capsys.readouterr()
        return SimpleNamespace(code=code, out=shown.out, err=shown.err)

    return run


def write(folder, number, body, function=None):
    """Fill in a stub: `body` stands for its unwritten line, or code that comes behind the file."""
    exercise = catalogue()[number]
    folder.mkdir(parents=True, exist_ok=True)
    stub = exercise.stub
    if stub.count("raise NotImplementedError") == 1 and function is None:
        stub = stub.replace("raise NotImplementedError", body)
    else:
        stub += f"\n\n{body}\n"
    (folder / exercise.stub_name).write_text(stub, encoding="utf-8")


# ---------------------------------------------------------------- the path of a newcomer
def test_start_check_name_repair_pass(type_in, folder):
    started = type_in("start 2.1")
    assert started.code == 0 and len(list(folder.glob("ex_2_1_*.py"))) == 6
    assert "python -m lessons check 2.1" in started.out

    write(folder, "2.1.2", "return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v")
    checked = type_in("check 2.1")
    assert checked.code == 1
    assert "diagnosis         Your output equals the reference without the 1/sqrt(head_dim) scale." in checked.out
    assert "2.1.1  Softmax: not written yet" in checked.out
    table = type_in("").out
    assert row_of(table, "2.1.2").split()[-4:] == ["tried", "1", "10", "**"]

    write(folder, "2.1.2", "return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v")
    checked = type_in("check 2.1.2")
    assert (
        checked.code == 0
        and "2.1.2  Scaled dot-product attention: passed (4 cases, gradients of q, k, v)" in checked.out
    )
    table = type_in("").out
    assert row_of(table, "2.1.2").split()[-4:] == ["done", "2", "10", "**"]
    assert "1 of 6" in row_of(table, "2.1 ") and f"1 of {len(catalogue())} exercises done, 10 of" in table
    assert row_of(table, "2.1.6").split()[-2:] == ["10", "***"], "a file with its bug untouched is no try"


def row_of(table, number):
    return next(line for line in table.splitlines() if line.strip().startswith(number))


PLANTED = [
    ("2.1.1", "return scores.softmax(-2) if scores.ndim > 1 else scores", "last but one axis"),
    ("2.1.1", "return scores.exp() / scores.exp().sum(-1, keepdim=True)", "without subtracting the largest score"),
    (
        "2.2.1",
        "return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) * weight + bias",
        "two mistakes at once",
    ),
    ("2.2.1", "return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, None, eps)", "without the bias"),
    ("2.3.1", "return rearrange(image, 'b c (h p) (w q) -> b (h w) (p q c)', p=patch_size, q=patch_size)", "(ph pw c)"),
    ("2.3.1", "return image.reshape(len(image), -1, image.shape[1] * patch_size**2)", "a plain reshape"),
    ("3.2.1", "return tokens[:, -1]", "the last token of each row"),
    ("3.2.1", "return tokens[torch.arange(len(ids)), ids.argmax(-1) - 1]", "the token before end of text"),
    (
        "3.3.1",
        "x = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T\n"
        "    return F.cross_entropy(logit_scale.exp() * x, torch.arange(len(x)))",
        "each picture looks for its caption",
    ),
    (
        "3.3.1",
        "x = logit_scale.exp() * image @ text.T\n    y = torch.arange(len(x))\n"
        "    return (F.cross_entropy(x, y) + F.cross_entropy(x.T, y)) / 2",
        "embeddings that were not normalised",
    ),
]


def test_ten_planted_mistakes_over_five_exercises(type_in, tmp_path):
    """Two hand-ins of a class, marked in one go."""
    for at, (number, body, _) in enumerate(PLANTED):
        write(tmp_path / ["anna", "ben"][at % 2], number, body)
    marked = type_in(f"check --json --folder {tmp_path / 'anna'} {tmp_path / 'ben'}")
    results = json.loads(marked.out)
    assert marked.code == 1 and [one["passed"] for one in results] == [0, 0] and len(results) == 2
    for at, (number, _, words) in enumerate(PLANTED):
        report = next(one for one in results[at % 2]["exercises"] if one["number"] == number)
        assert report["status"] == "failed" and words in report["diagnosis"], report
    assert not list(tmp_path.rglob("progress.json")), "nothing is written into a hand-in"


def test_marking_tells_what_is_missing(type_in, tmp_path):
    write(tmp_path / "carla", "2.2.6", "return 4 * embed_dim**2 + 2 * embed_dim * mlp_dim + 9 * embed_dim + mlp_dim")
    marked = type_in(f"check 2.2.6 2.2.3 --folder {tmp_path / 'carla'}")
    assert marked.code == 1 and "carla: 1 of 2 passed" in marked.out and "2.2.3  The MLP: not started" in marked.out
    assert type_in(f"check 2.2 --folder {tmp_path / 'nobody'}").code == 2


# ---------------------------------------------------------------- files stay a learner's own
def test_nothing_is_overwritten_without_force(type_in, folder):
    type_in("start 2.1.1")
    mine = folder / "ex_2_1_1_softmax.py"
    mine.write_text("my work", encoding="utf-8")
    again = type_in("start 2.1")
    assert again.code == 0 and mine.read_text(encoding="utf-8") == "my work" and "--force" in again.out
    for count in (1, 2):
        mine.write_text(f"work {count}", encoding="utf-8")
        assert type_in("start 2.1.1 --force").code == 0
    backups = sorted(folder.glob("ex_2_1_1_softmax.py.backup*"))
    assert [path.read_text(encoding="utf-8") for path in backups] == ["work 1", "work 2"]
    assert mine.read_text(encoding="utf-8") == catalogue()["2.1.1"].stub
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_reset_forgets_and_keeps_a_backup(type_in, folder):
    write(folder, "2.1.2", "return q")
    desk = progress.Desk.open()
    desk.note(catalogue()["2.1.2"], "passed")
    desk.save()
    assert "done" in row_of(type_in("").out, "2.1.2")
    assert type_in("reset 2.1").code == 0
    assert "started" in row_of(type_in("").out, "2.1.2") and list(folder.glob("*.backup"))


def test_damaged_records_are_put_aside(type_in, folder):
    folder.mkdir()
    (folder / "progress.json").write_text("{broken", encoding="utf-8")
    shown = type_in("")
    assert shown.code == 0 and "kept as progress.json.unreadable" in shown.err
    assert (folder / "progress.json.unreadable").read_text(encoding="utf-8") == "{broken"


RECORD = {"tries": 1, "passed": "", "hints": 0, "solution": False}


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "5", "{}", '{"exercises": []}', '{"exercises": {"2.1.2": 5}}', '{"exercises": {"x": {}}}',
        '{"exercises": {"1.' + "9" * 5000 + '": {}}}', '{"exercises": {}, "lessons": []}', "[" * 100_000,
        '{"exercises": {}, "lessons": {"2.1": 5}}', '{"exercises": {}, "lessons": {"two": "now"}}',
        *(
            json.dumps({"exercises": {"2.1.2": {**RECORD, key: value}}, "lessons": {}})
            for key, values in {"tries": ["1", -1, 1.5, True], "passed": [1, ["a"]], "hints": [-1, "x", 10**30],
                                "solution": [1, "no"]}.items()
            for value in values
        ),
    ],
)  # fmt: skip
def test_records_of_other_types_are_put_aside(type_in, folder, content):
    folder.mkdir()
    (folder / "progress.json").write_text(content, encoding="utf-8")
    for line in ("", "hint 2.1.2", "list"):
        shown = type_in(line)
        assert shown.code == 0 and ("kept as progress.json.unreadable" in shown.err) == (not line)
    assert (folder / "progress.json.unreadable").read_text(encoding="utf-8") == content


def test_records_are_read_again(folder):
    desk = progress.Desk.open()
    desk.records["2.1.2"] = progress.Record(3, "2026-01-02T03:04:05", 2, True)
    desk.records["2.1.10"] = progress.Record()
    desk.runs["2.1"] = "2026-01-02T03:04:05"
    desk.save()
    again = progress.Desk.open()
    assert again.records == desk.records and again.runs == desk.runs and not again.notice
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "*\n"


# ---------------------------------------------------------------- a full disk, a folder that is read-only
@contextmanager
def room_for(size):
    """No file that is written meanwhile grows beyond so many bytes, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_stub_that_looks_like_ones_own(type_in, folder):
    for size in (0, 100):
        with room_for(size):
            shown = type_in("start 2.1.2")
        assert shown.code == 2 and len(shown.err.splitlines()) == 1 and "cannot write" in shown.err
        assert not [path for path in folder.iterdir() if path.name != ".gitignore" or not path.read_text()]
    assert "left as it is" not in type_in("start 2.1.2").out
    assert (folder / "ex_2_1_2_attention.py").read_text(encoding="utf-8") == catalogue()["2.1.2"].stub


def test_a_full_disk_keeps_what_was_to_be_replaced(type_in, folder):
    write(folder, "2.1.2", "return q")
    mine = (folder / "ex_2_1_2_attention.py").read_text(encoding="utf-8")
    with room_for(100):
        assert type_in("start 2.1.2 --force").code == 2
    assert (folder / "ex_2_1_2_attention.py").read_text(encoding="utf-8") == mine
    assert not list(folder.glob("*.backup*"))


@pytest.mark.parametrize(
    "line, code, words",
    [
        ("check 2.1.1", 1, "2.1.1  Softmax"),
        ("hint 2.1.1", 0, "hint 1 of"),
        ("solution 2.1.1 --anyway", 0, "return exps / exps.sum"),
    ],
)
def test_the_answer_comes_first_where_nothing_can_be_recorded(type_in, folder, monkeypatch, line, code, words):
    write(folder, "2.1.1", "return x")

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(progress, "write_whole", full)
    shown = type_in(line)
    assert shown.code == code and words in shown.out
    assert shown.err.startswith("note: this is not recorded: ") and len(shown.err.splitlines()) == 1


# ---------------------------------------------------------------- hints and solutions
def test_hints_come_one_by_one(type_in):
    hints = catalogue()["2.1.2"].hints
    for at, (symptom, _) in enumerate(hints, start=1):
        shown = type_in("hint 2.1.2").out
        assert f"hint {at} of {len(hints)}: {symptom}" in shown and shown.count("hint ") == (
            2 if at < len(hints) else 1
        )
    assert type_in("hint 2.1.2").out.count(" of 3: ") == 3, "after the last one all of them"
    assert "hint 1 of 3" in type_in("hint 2.1").out, "a lesson's number means its first exercise that is not done"
    assert type_in("hint 2.1.3 --all").out.count(" of 3: ") == 3


def test_the_solution_comes_after_a_try(type_in, folder):
    refused = type_in("solution 2.1.1")
    assert refused.code == 1 and "try it first" in refused.out and "return exps" not in refused.out
    assert "return exps / exps.sum" in type_in("solution 2.1.1 --anyway").out
    desk = progress.Desk.open()
    desk.note(catalogue()["2.1.3"], "unwritten")
    desk.note(catalogue()["2.1.3"], "failed")
    desk.save()
    assert "def masked_attention" in type_in("solution 2.1").out, "of a lesson: the one that was tried"


# ---------------------------------------------------------------- what cannot be done ends in one line
@pytest.mark.parametrize(
    "line, words",
    [
        ("start 9.9", "there is no lesson or exercise 9.9; lessons with exercises: 2.1, 2.2"),
        ("start 2.1.99", "there is no exercise 2.1.99; lesson 2.1 has 2.1.1 to 2.1.6"),
        ("check 2.1.1", "begin with  python -m lessons start 2.1.1"),
        ("check", "nothing to check"),
        ("check 2.1 --time-limit 0", "expected seconds"),
        ("hint x", "there is no lesson or exercise x"),
        ("run 9.9", "there is no lesson 9.9; there are 2.1"),
        ("read 9", "there is no lesson 9"),
        ("dance", "invalid choice: 'dance'"),
        ("start", "required: NUMBER"),
    ],
)
def test_mistakes_are_one_line(type_in, line, words):
    shown = type_in(line)
    assert shown.code == 2 and words in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


def test_a_folder_that_cannot_be_made_is_one_line(type_in, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "file" / "my"))
    shown = type_in("start 2.1")
    assert shown.code == 2 and len(shown.err.splitlines()) == 1 and "file" in shown.err


# ---------------------------------------------------------------- run, read, list, tour
def test_run_starts_the_script_and_hands_arguments_on(folder, tmp_path, monkeypatch, capfd):
    script = tmp_path / "03_vit.py"
    script.write_text("import sys\nimport minimodels.errors\nprint('ran', sys.argv[1:])\n", encoding="utf-8")
    lesson = progress.LessonInfo("2.3", "ViT", 20, script, "2_transformers/03_vit")
    monkeypatch.setattr(commands, "lessons", lambda: {"2.3": lesson})
    assert main(["run", "2.3", "--fast"]) == 0
    assert "ran ['--fast']" in capfd.readouterr().out and "2.3" in progress.Desk.open().runs
    script.write_text("raise SystemExit(3)", encoding="utf-8")
    assert main(["run", "2.3"]) == 1


def test_read_finds_the_built_page_or_says_how_to_build_it(type_in, tmp_path, monkeypatch):
    lesson = progress.LessonInfo("2.3", "ViT", 20, tmp_path / "03_vit.py", "2_transformers/03_vit")
    monkeypatch.setattr(commands, "lessons", lambda: {"2.3": lesson})
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    shown = type_in("read 2.3")
    assert shown.code == 2 and "make book" in shown.out
    for place in ("03_vit/index.html", "03_vit.html"):
        page = tmp_path / "site" / "lessons" / "2_transformers" / place
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<html></html>", encoding="utf-8")
        assert str(page) in type_in("read 2.3.1 --print").out


def test_list_and_table_name_everything(type_in):
    listed, table = type_in("list").out, type_in("").out
    for exercise in catalogue().values():
        assert exercise.number in listed and exercise.title in listed and row_of(table, exercise.number)
    assert all(len(line) <= 100 for line in table.splitlines() if "folder" not in line)
    heads = [line for line in table.splitlines() if "difficulty" in line]
    assert len(heads) == 1 and table.rstrip().splitlines()[-1] == "next: python -m lessons start 2.1.1"


def test_tour_is_handed_on(type_in, monkeypatch):
    called = []
    monkeypatch.setattr("lessons.tour.command.main", lambda args: called.append(args) or 0)
    assert type_in("tour --scenes 5").code == 0 and called == [["--scenes", "5"]]


# ---------------------------------------------------------------- wherever it is started
def test_the_table_is_quick_plain_and_works_from_any_folder(root, tmp_path):
    """In a process of its own, in another folder, on a console that knows ASCII only; torch is not touched."""
    code = "import sys; from lessons.__main__ import main; main([]); main(['hint', '2.1.1']);"
    code += "print('torch' in sys.modules)"
    plain = {"PYTHONPATH": str(root), "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    environment = {**os.environ, **plain, progress.VARIABLE: str(tmp_path / "my")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[-1] == "False" and b"\x1b" not in done.stdout


def test_where_the_folder_lies(root, tmp_path, monkeypatch):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    assert progress.find_folder() == root / "my", "in a clone: beside its packages"
    monkeypatch.setattr(progress, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert progress.find_folder() == tmp_path / "my", "installed: in the current folder"
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "progress.json").write_text("{}", encoding="utf-8")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert progress.find_folder() == tmp_path / "my", "or the nearest one above that has records"
