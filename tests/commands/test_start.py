"""A command starts at once: help needs no torch, an answer no library that it does not use."""

import subprocess
import sys

import pytest

from minimodels import __main__ as program
from minimodels.stored import embedded
from tests.commands.command_line import paint, write_model

SLOW = ("ot", "scipy", "sympy", "torch._dynamo", "timm", "transformers")
TOLD = """
import sys
from minimodels.__main__ import main
try:
    main({words!r})
except SystemExit:
    pass
print("loaded:", *[name for name in {names!r} if name in sys.modules])
"""


def loaded(root, words, names):
    """Which of these modules a command line has loaded at its end."""
    code = TOLD.format(words=[str(word) for word in words], names=names)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_help_loads_no_torch(root):
    assert loaded(root, ["--help"], ("torch", "numpy", "PIL")) == []


def test_an_answer_loads_what_it_needs(root, tmp_path):
    picture, model = paint(tmp_path / "a.png"), write_model(tmp_path / "small.safetensors", seed=0)
    words = ["zero-shot", picture, "cat", "dog"]
    assert loaded(root, words, (*SLOW, "torch")) == ["torch"]  # an embedded model
    assert loaded(root, [*words, "--model", model], ("ot", "sympy", "torch._dynamo", "timm", "transformers")) == []


def test_segmenting_loads_what_it_needs(root, tmp_path):
    words = ["segment", paint(tmp_path / "a.png"), "a cat", "-o", tmp_path / "out.png"]
    assert loaded(root, words, (*SLOW, "torch")) == ["torch"]
    assert (tmp_path / "out.png").is_file()


def test_building_a_model_loads_no_compiler(root):
    code = f"import sys, minimodels\nfor name in {embedded.names()}:\n    minimodels.load(name)\n"
    code += "    print(name, 'torch._dynamo' in sys.modules, 'sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name} False False" for name in embedded.names()]


def test_each_file_is_a_command_that_says_its_question(capsys):
    files = [file.stem.replace("_", "-") for file in program.COMMANDS.glob("[!_]*.py")]
    found = program.find_commands()
    assert sorted(found) == sorted(files) and len(files) >= 4
    for name in found:
        with pytest.raises(SystemExit) as stop:
            program.main([name, "--help"])
        out = capsys.readouterr().out
        assert stop.value.code == 0 and "examples:" in out and "--model" in out
