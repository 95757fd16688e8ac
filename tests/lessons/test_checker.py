"""The checker: what it says about wrong values, exceptions and files that misbehave."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons.checker import Mistake, Task, Unusable
from lessons.checker.exercises import catalogue
from lessons.checker.judge import judge
from lessons.checker.load import forbidden_use
from lessons.checker.runner import check_files
from lessons.checker.values import compare, describe_inputs
from lessons.checker.verdict import Report

DOUBLE = torch.float64


# ---------------------------------------------------------------- comparing
@pytest.mark.parametrize(
    "got, want, kind, words",
    [
        (None, torch.ones(2), "type", "is a `return` missing?"),
        (np.ones(2), torch.ones(2), "type", "a numpy array came back"),
        ([1.0, 1.0], torch.ones(2), "type", "a list came back"),
        (torch.ones(2, 3), torch.ones(3, 2), "shape", "(2, 3), expected (3, 2)"),
        (torch.ones(2, device="meta"), torch.ones(2), "device", "meta"),
        (torch.ones(2), torch.ones(2, dtype=DOUBLE), "dtype", "float32 came back"),
        (torch.ones(2), torch.ones(2).long(), "dtype", "float32 came back, int64"),
        (torch.ones(2), torch.ones(2).bool(), "dtype", "bool is expected"),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), "nan", "1 of 2 numbers are NaN"),
        (torch.tensor([1.0, 2.0]), torch.ones(2), "value", "differ"),
        ({"a": 1}, {"a": 1, "b": 2}, "names", "missing: 'b'"),
        ({"a": 1, "c": 2}, {"a": 1}, "names", "not expected: 'c'"),
        (3, {"a": 1}, "type", "a dict with the names 'a'"),
        ([1, 2], [1, 2, 3], "length", "2 items came back, 3"),
        (2, 2.5, "value", "differs"),
        (float("nan"), 2.5, "nan", "NaN"),
        ("a", 1, "type", "a str came back, an int"),
        (1, True, "type", "an int came back, a bool"),
        ("cat", "dog", "value", "differs"),
    ],
)
def test_differences(got, want, kind, words):
    found = compare(got, want)
    assert found.kind == kind and words in found.text


def test_equal_things_are_equal():
    assert compare((1, [2.0, "x"]), [1, (2.0, "x")]) is None
    assert compare(torch.tensor(2.5), 2.5) is None and compare(np.float64(2.5), 2.5) is None
    assert compare(torch.ones(2).int(), torch.ones(2).long()) is None
    nan = torch.tensor([float("nan"), float("inf")], dtype=DOUBLE)
    assert compare(nan, nan.clone()) is None


def test_the_largest_difference_is_told():
    got = torch.zeros(2, 3, dtype=DOUBLE)
    want = got.clone()
    want[1, 2], want[0, 1] = 5.0, 1.0
    found = compare(got, want)
    assert found.where == "at [1, 2]: yours 0, expected 5, off by 5 (the largest); 2 of 6 numbers differ"


def test_the_first_named_step_is_told_whatever_order_came():
    want = {"scores": torch.zeros(2), "weights": torch.zeros(2)}
    found = compare({"weights": torch.ones(2), "scores": torch.ones(2)}, want)
    assert found.path == "['scores']"


def test_inputs_are_described_by_shape():
    shown = describe_inputs({"q": torch.ones(2, 3), "num_heads": 2, "norm": F.relu, "word": "cat"})
    assert shown == "q (2, 3), num_heads = 2, norm a function, word = 'cat'"


# ---------------------------------------------------------------- judging, on a task of its own
def cases(random):
    yield {"x": random(2, 3), "y": random(2, 3)}
    yield {"x": random(3, 4), "y": random(3, 4)}


def flawed(x, y, double=1, shift=0):
    return double * x * y + shift * y.sum()


TASK = Task(
    "product",
    cases,
    reference=lambda x, y: x * y,
    gradients=("x", "y"),
    flawed=flawed,
    mistakes=[
        Mistake("three times the product", double=3, fix="Once."),
        Mistake("the product plus the sum of y", shift=1),
    ],
)


def said(function):
    return judge(TASK, function)


def test_right_answers_pass_and_nothing_else_is_said():
    verdict = said(lambda x, y: y * x)
    assert (verdict.status, verdict.headline) == ("passed", "2 cases, gradients of x, y")


def test_known_mistakes_are_named_alone_and_in_pairs():
    assert said(lambda x, y: 3 * x * y).diagnosis == "Your output equals three times the product."
    assert said(lambda x, y: 3 * x * y).fix == "Once."
    both = said(lambda x, y: 3 * x * y + y.sum()).diagnosis
    assert (
        both
        == "Your output equals two mistakes at once: (1) three times the product; (2) the product plus the sum of y."
    )


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x, y: 2.5 * x * y, "the reference times 2.5."),
        (lambda x, y: -x * y, "the opposite sign"),
        (lambda x, y: x * y * x.shape[1] ** 0.5, "times the root of the length of axis -1 of"),
        (lambda x, y: x * y + 0.25, "plus 0.25 everywhere"),
        (lambda x, y: (x * y).T, "axes 0 and 1 swapped"),
        (lambda x, y: (x * y).flip(1), "in reverse order along axis 1"),
        (lambda x, y: (x * y).flatten(), "Your numbers are right, in the shape (6,)"),
        (lambda x, y: y, "Your output is the input y, unchanged"),
        (lambda x, y: torch.zeros_like(x), "is the result ever written into it?"),
        (lambda x, y: torch.cat([(x * y)[:1], x[1:]]), "a batch of one assumed?"),
        (lambda x, y: x * torch.rand_like(y), "another answer each time"),
    ],
)
def test_plain_patterns_are_recognised(function, words):
    assert words in said(function).diagnosis


def test_gradients_are_checked_where_training_needs_them():
    verdict = said(lambda x, y: x.detach() * y)
    assert "the gradient of x is not" in verdict.headline and "The path from x" in verdict.diagnosis
    assert "no gradient flows back" in said(lambda x, y: (x * y).detach()).headline
    assert "detach()" in said(lambda x, y: torch.tensor((x * y).tolist(), dtype=DOUBLE)).fix


def test_changed_inputs_are_told():
    def in_place(x, y):
        x *= y
        return x

    assert said(in_place).headline == "the answer is right, but your function changes its input x"


def test_wrong_arguments_and_unwritten_functions():
    assert "takes (x), the check calls it with (x, y)" in said(lambda x: x).headline

    def unwritten(x, y):
        raise NotImplementedError

    assert said(unwritten).status == "unwritten"
    assert said(lambda x, y: None).headline.startswith("None came back")


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x, y: x @ y, "a matrix product of 2x3 with 2x3"),
        (lambda x, y: x + y[:, :2], "two tensors meet whose axis 1 has 3 and 2 places"),
        (lambda x, y: x.reshape(5, 5), "6 numbers cannot be arranged as (5, 5)"),
        (lambda x, y: x.T.view(-1), "use reshape or rearrange"),
        (lambda x, y: x.sum(dim=7), "axis 7 was asked for, this tensor has axes -2 to 1 only"),
        (lambda x, y: x.float() @ y.T, "two number formats meet"),
        (lambda x, y: torch.cat([x, y[:1]], dim=1), "another axis has 2 places in one and 1 in the other"),
        (lambda x, y: x if x > 0 else y, "an `if` needs one True or False"),
        (lambda x, y: exit(), "your file ends the program"),
        (lambda x, y: undefined + x, "a name is used that nothing defines"),  # noqa: F821
        (lambda x, y: input(), "input()"),
    ],
)
def test_exceptions_in_a_learners_words(function, words, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda: (_ for _ in ()).throw(EOFError("EOF when reading a line")))
    assert words in said(function).headline


def test_recursion_is_told():
    def forever(x, y):
        return forever(x, y)

    assert said(forever).headline == "your function calls itself without end"


def test_a_table_that_cannot_be_used_says_why():
    def use(table, x):
        raise Unusable("the table is no list")

    task = Task("T", lambda random: [{"x": 1}], reference=lambda x: x, mistakes=[], call=use)
    verdict = judge(task, 3)
    assert verdict.headline == "the table is no list" and "Python says" not in dict(verdict.details)


def test_forbidden_names():
    assert forbidden_use("import torch\n\ny = torch.softmax(x)", {"softmax"}) == (
        3,
        "line 3 uses softmax, which is what this exercise asks you to write",
    )
    assert forbidden_use("def softmax(x):\n    return x\n\nsoftmax(1)", {"softmax"}) is None
    assert (
        "imports minimodels.blocks, where the answer lies"
        in forbidden_use("from minimodels.blocks import MLP", set())[1]
    )
    assert forbidden_use("from checkpoints_convert.tables import FIRST", set()) is None


def test_a_mistake_needs_something_that_makes_it():
    with pytest.raises(ValueError, match="nothing makes the mistake: a sum"):
        Task("product", cases, reference=lambda x, y: x * y, mistakes=[Mistake("a sum", shift=1)])


def test_reports_survive_json():
    report = Report("2.1.2", "Attention", "failed", "differs", [("where", "at [0]")], tasks=[("attention", "failed")])
    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report


# ---------------------------------------------------------------- files in their own process
RIGHT = "return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v)"
BODIES = {
    "loop": "n = 0\n    while True:\n        n += 1",
    "right": f"print('hello')\n    {RIGHT}",
    "exits": "import sys; sys.exit(3)",
    "hard_exit": "import os; os._exit(0)",
    "no_scale": "return (q @ k.mT).softmax(-1) @ v",
    "half": "return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v).float()",
    "nan": "return (q @ k.mT).log().softmax(-1) @ v",
    "wrong_line": "scores = q @ k\n    return scores @ v",
    "forbidden": "return torch.nn.functional.scaled_dot_product_attention(q, k, v)",
    "flood": "for _ in range(3000):\n        print('x' * 1000)\n    " + RIGHT,
    "waits": "input()",
    "thread": "import threading, time\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    " + RIGHT,
    "sparse": RIGHT + ".to_sparse()",
    "shadow": "import einops\n    " + RIGHT,
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Every kind of misbehaving file, checked in one go."""
    folder = tmp_path_factory.mktemp("hand_in")
    stub = catalogue()["2.1.2"].stub
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(stub.replace("raise NotImplementedError", body), encoding="utf-8")
    (folder / "syntax.py").write_text(stub.replace("raise NotImplementedError", "return (q"), encoding="utf-8")
    (folder / "renamed.py").write_text(stub.replace("def attention", "def attend"), encoding="utf-8")
    (folder / "number.py").write_text(stub + "\n\nattention = 3\n", encoding="utf-8")
    (folder / "latin.py").write_bytes(stub.encode() + "\n# caf\u00e9\n".encode("latin-1"))
    (folder / "top_level.py").write_text(stub + "\n\n1 / 0\n", encoding="utf-8")
    (folder / "einops.py").write_text("raise RuntimeError('a file named like a library')\n", encoding="utf-8")
    files = sorted(path for path in folder.glob("*.py") if path.stem != "einops")
    found = check_files([("2.1.2", path) for path in files], limit=8)  # wall time: a busy machine needs room
    return {path.stem: report for path, report in zip(files, found, strict=True)}


def test_an_endless_loop_is_stopped_and_its_line_told(reports):
    report = reports["loop"]
    assert report.status == "timeout" and "still running after 8 seconds" in report.headline
    assert dict(report.details)[f"line {report.line}"] in ("while True:", "n += 1")


def test_the_rest_is_still_checked(reports):
    assert reports["right"].status == "passed" and reports["right"].printed.startswith("hello")
    assert reports["shadow"].status == "passed"


def test_odd_answers_and_threads_do_no_harm(reports):
    assert reports["thread"].status == "passed"
    assert reports["sparse"].status == "failed" and reports["sparse"].headline


def test_exits_are_told(reports):
    assert reports["exits"].status == "failed" and "ends the program" in reports["exits"].headline
    assert reports["hard_exit"].status == "crashed" and "exit code 0" in reports["hard_exit"].headline


def test_files_that_do_not_load(reports):
    syntax = reports["syntax"]
    assert (
        syntax.headline == "Python cannot read your file" and "was never closed" in dict(syntax.details)["Python says"]
    )
    assert syntax.line and "return (q" in dict(syntax.details)[f"line {syntax.line}"]
    assert "there is no attention in your file" in reports["renamed"].headline
    assert "no function any more" in reports["number"].headline
    assert "UTF-8" in reports["latin"].headline
    assert "ZeroDivisionError" in dict(reports["top_level"].details)["Python says"]


def test_wrong_answers_are_diagnosed_there_too(reports):
    assert "without the 1/sqrt(head_dim) scale" in reports["no_scale"].diagnosis
    assert reports["half"].headline == "float32 came back, float64 is expected like the inputs"
    assert "are NaN" in reports["nan"].headline
    assert reports["forbidden"].status == "failed" and "asks you to write" in reports["forbidden"].headline
    assert "input()" in reports["waits"].headline


def test_an_exception_names_line_and_shapes(reports):
    details = dict(reports["wrong_line"].details)
    assert details[f"line {reports['wrong_line'].line}"] == "scores = q @ k"
    assert details["shapes there"] == "q is (2, 1, 3, 4), k is (2, 1, 3, 4)"


def test_a_flood_of_prints_is_cut(reports):
    report = reports["flood"]
    assert report.status == "passed" and len(report.printed) < 2100 and "more characters" in report.printed


def test_the_text_is_plain(reports):
    for report in reports.values():
        text = report.text("python -m lessons hint 2.1.2")
        assert text.isascii() and all(len(line) <= 102 for line in text.splitlines() if "x" * 20 not in line)
