"""Every command with odd values for each option and argument: an answer, or one line that says what is wrong."""

import os
import time
from pathlib import Path

import pytest
from PIL import Image

from minimodels.__main__ import find_commands, make_parser
from minimodels.commands.match import check_patches
from minimodels.errors import LONGEST, UserError
from minimodels.terminal import parser, printing
from tests.commands.command_line import assert_one_clear_line, command_line, paint, write_model

ARGUMENTS = {
    "zero-shot": ["a.png", "cat", "dog"],
    "compare": ["a.png", "a cat", "a dog"],
    "search": ["folder", "a cat"],
    "segment": ["a.png", "a cat"],
    "match": ["a.png", "mask.png", "b.png"],
    "which": ["a.png", "a cat", "--box=1,2,30,40"],
}
ODD = [
    "", "-", "--", "-1", "0", "1", "٣", "1.5", "1e300", "nan", "-inf", "9" * 25, "9" * 5000, "text", "x" * 300,
    "x" * 300 + ".png", "x" * 20_000, "\udc80", "a\udc80.png", "\n", "a.png", "mask.png", "folder", "folder.png",
    "pipe.png", "file", "file/x.png", "/dev/null", "/proc/x.png", "cpu:", "cpu:99", "cpu:0", "cuda:", "cuda:٣", "mps:1",
    "1,2", "1,2,3,4", "nan,nan", "9,9,1,1", ",", ",,", "{}", "{a}", "tiny-sam", "tiny-vit,tiny-sam", "out.jpg",
]  # fmt: skip


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors", seed=0)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_file):
    """Commands in a folder with pictures, a mask, and names that are in the way."""
    call = command_line(capsys, monkeypatch, tmp_path, None)
    (tmp_path / "here" / "folder").mkdir()
    (tmp_path / "here" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "here" / "pipe.png")
    (tmp_path / "here" / "file").write_text("a letter")
    for number, name in enumerate(["a.png", "b.png", "folder/c.png", "folder/d.png"]):
        paint(tmp_path / "here" / name, number, (64, 64))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 40, 40))
    mask.save(tmp_path / "here" / "mask.png")

    def with_model(command, *arguments):
        small = ["--model", str(model_file)] if command in ("zero-shot", "search", "which") else []
        return call(command, *arguments, *([] if "--model" in " ".join(arguments) else small))

    return with_model


def options_with_values(command):
    """The long names of the options that take a value."""
    own = make_parser([command])._subparsers._group_actions[0].choices[command]
    return [action.option_strings[-1] for action in own._actions if action.option_strings and action.nargs != 0]


def test_every_command_is_tried():
    assert set(find_commands()) == set(ARGUMENTS)


def judge(result, what):
    """Exit code 0 with something on stdout, or 2 with one line of a length that can be read."""
    code, out, err = result
    errors = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code in (0, 2), f"{what}: {result}"
    if code == 0:
        assert out and not errors, f"{what}: {result}"
    else:
        assert len(errors) == 1 and errors[0].startswith("error: "), f"{what}: {result}"
        assert len(errors[0]) < LONGEST + 20, what


OPTIONS = [(command, option) for command in ARGUMENTS for option in options_with_values(command)]
SOME = [(*one, ODD[number % 4 :: 4]) for number, one in enumerate(OPTIONS)]
ALL = [pytest.param(*one, ODD, marks=pytest.mark.slow) for one in OPTIONS]


@pytest.mark.parametrize("command, option, values", SOME + ALL)
def test_odd_values_of_an_option(run, command, option, values):
    inputs = [name for name in ARGUMENTS[command] if name.endswith(".png")]
    before = {name: Path(name).read_bytes() for name in inputs}
    for value in values:
        judge(run(command, *ARGUMENTS[command], f"{option}={value}"), (option, value[:40]))
    for name, content in before.items():
        assert Path(name).read_bytes() == content, f"{option}: {name} was overwritten"


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ARGUMENTS)
def test_odd_arguments(run, command, step):
    for place in range(len(ARGUMENTS[command])):
        for value in ODD[place % step :: step]:
            words = list(ARGUMENTS[command])
            words[place] = value
            judge(run(command, *words), (place, value[:40]))


@pytest.mark.parametrize(
    "command, option, words",
    [
        ("match", "--seed=18446744073709551616", ["seed", "0 to 2^64 - 1"]),
        ("match", "--seed=-1", ["seed", "0 to 2^64 - 1"]),
        ("match", "--least=nan", ["'nan' is not a number"]),
        ("match", "--least=--", ["argument --least: expected one argument"]),
        ("match", "-o--", ["argument -o: expected one argument"]),
        ("match", "-o=--", ["argument -o: expected one argument"]),
        ("match", "--size=8192", ["makes 1,048,576 patches a picture, at most 16,384"]),
        ("match", "--output=a.png", ["a.png: it is one of the pictures that are read"]),
        ("match", "--output=mask.png", ["mask.png: it is one of the pictures that are read"]),
        ("segment", "--output=./a.png", ["it is one of the pictures that are read"]),
        ("segment", "--output=pipe.png", ["there is a pipe or device so named"]),
        ("segment", "--output=folder.png", ["there is a folder so named"]),
        ("segment", f"--output={'x' * 300}.png", ["File name too long"]),
        ("segment", "--threshold=nan", ["'nan' is not a number from 0 to 1"]),
        ("zero-shot", "--device=cpu:", ["unknown device 'cpu:'"]),
        ("zero-shot", "--device=cpu:99", ["unknown device 'cpu:99'"]),
        ("zero-shot", "--device=cuda:٣", ["unknown device"]),
        ("zero-shot", "--top=" + "9" * 5000, ["is not a whole number of at least 1"]),
    ],
)
def test_what_is_said_of_odd_values(run, command, option, words):
    assert_one_clear_line(run(command, *ARGUMENTS[command], option), *words)


@pytest.mark.parametrize("seed", ["0", "18446744073709551615"])
def test_the_first_and_the_last_seed(run, seed):
    assert run("match", *ARGUMENTS["match"], "--seed", seed)[0] == 0


def test_search_does_not_overwrite_what_it_is_shown(run):
    assert_one_clear_line(
        run("search", "folder", "--like", "a.png", "-o", "a.png"), "one of the pictures that are read"
    )


def test_masks_take_no_pictures_place(run):
    """Neither that of a picture that is read, nor that of another mask."""
    paint("b-mask.png", 3, (64, 64))
    result = run("match", "a.png", "b-mask.png", "b.png", "--masks", ".")
    assert_one_clear_line(result, "b-mask.png: it is one of the pictures that are read")
    paint("folder/b.png", 4, (64, 64))
    result = run("match", "a.png", "mask.png", "b.png", "folder/b.png", "--masks", "masks")
    assert_one_clear_line(result, "the masks of b.png and folder/b.png would both be b-mask.png")
    assert not Path("masks").exists()
    code, out, _ = run("match", "a.png", "mask.png", "b.png", "folder/c.png", "--masks", "masks")
    assert code == 0 and sorted(file.name for file in Path("masks").iterdir()) == ["b-mask.png", "c-mask.png"]
    paint("01-a-cat.png", 5, (64, 64))
    code, _, err = run("segment", "01-a-cat.png", "a cat", "--masks", ".")
    assert code == 2 and "01-a-cat.png: it is one of the pictures that are read" in err


# ---------------------------------------------------------------- pictures of any shape


SHAPES = [(1, 20000), (5000, 3)]
MORE = [pytest.param(shape, marks=pytest.mark.slow) for shape in ((1, 1), (20000, 1), (3, 5000), (2, 2), (65, 64))]
ASKED = {
    "zero-shot": [["cat", "dog"]],
    "compare": [["cat", "dog"]],
    "search": [["a cat"], ["--like", "a.png"]],
    "segment": [["a cat"], ["the cat on the left", "--model", "tiny-lavt"], ["--point", "0,0"], ["--box", "0,0,1,1"],
                ["--everything"], ["--prompt-image", "a.png"]],
    "match": [["mask.png", "b.png"], ["b.png"]],
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES + MORE)
@pytest.mark.parametrize("command, asked", [(command, asked) for command in ASKED for asked in ASKED[command]])
def test_pictures_of_any_shape(run, command, asked, shape):
    if command == "search":
        paint("folder/c.png", 7, shape)
        judge(run(command, "folder", *asked), shape)
        return
    paint("odd.png", 7, shape)
    judge(run(command, "odd.png", *asked), shape)
    if command == "match":
        judge(run(command, "a.png", "mask.png", "odd.png"), shape)


# ---------------------------------------------------------------- no memory, long waits


@pytest.mark.parametrize(
    "error, words",
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), 1),
        (MemoryError(), 1),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 2),
    ],
)
def test_a_machine_without_memory_says_so(capsys, error, words):
    def work():
        raise error

    assert parser.guarded(work) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and {1: "not enough memory; close other", 2: "the device is out of memory"}[words] in said
    )


def test_a_mistake_of_ours_is_not_hidden():
    def work():
        raise RuntimeError("the size of tensor a must match")

    with pytest.raises(RuntimeError, match="tensor a"):
        parser.guarded(work)


def test_a_picture_without_memory_is_not_called_damaged(run, monkeypatch):
    def none(*_):
        raise MemoryError

    monkeypatch.setattr("minimodels.pixels.opening.repair", none)
    assert_one_clear_line(run("zero-shot", *ARGUMENTS["zero-shot"]), "not enough memory")


def test_a_terminal_shows_how_long_a_match_takes(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    with printing.waiting("matching b.png"):
        time.sleep(1.5)
    said = capsys.readouterr().err
    assert "\rmatching b.png ... 1 s" in said and said.endswith("\r")
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with printing.waiting("matching b.png"):
        pass
    assert capsys.readouterr().err == ""


def test_how_many_patches_can_be_matched(capsys):
    printing.forget_notices()
    check_patches(48**2, 384)
    assert capsys.readouterr().err == ""
    check_patches(128**2, 1024)
    assert "--size 1024 makes 16,384 patches a picture: matching them takes minutes" in capsys.readouterr().err
    with pytest.raises(UserError, match="--size 1032 makes 16,385 patches a picture, at most 16,384 can be matched"):
        check_patches(128**2 + 1, 1032)


def test_many_patches_are_announced(run, monkeypatch):
    monkeypatch.setattr("minimodels.commands.match.MANY_PATCHES", 255)
    code, _, err = run("match", *ARGUMENTS["match"])
    assert code == 0 and "--size 128 makes 256 patches a picture: matching them takes minutes" in err
