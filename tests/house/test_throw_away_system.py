"""A system is found, never listed: new files alone, in a copy of the repository, and everything knows it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.golden import fill
from tests.house.pebble import FILES, KEYS
from tests.house.test_house import ROOT, tracked

pytestmark = pytest.mark.xdist_group("throw-away")  # one worker: one copy
GENERATED = ("README.md", "docs/data/parity.json")  # by the report
# Runs in the copy, one process for all that is asked: command -> exit code and what was printed.
DRIVER = """
import contextlib, importlib, io, json, sys
import minimodels

assert minimodels.__file__.startswith(sys.argv[1]), minimodels.__file__

def said(name, *words):
    out = io.StringIO()
    sys.argv = [name, *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = importlib.import_module(f"{name}.__main__" if name != "tests.report" else name).main(list(words))
        except SystemExit as error:
            code = error.code
    return code, out.getvalue()

converter, weights = "checkpoints_convert", "minimodels/weights/tiny-pebble/model.safetensors"
found = {
    "list": said(converter, "list", "pebble"),
    "inspect": said(converter, "inspect", "pebble.pth"),
    "convert": said(converter, "convert", "pebble.pth", weights),
    "export": said(converter, "export", "tiny-pebble", "plain", "again.safetensors"),
    "verify": said(converter, "verify", "pebble"),
    "verify by name": said(converter, "verify", "pebble-small"),
    "golden": said("tests.golden", "tests/golden/pebble/tiny", "tests/golden/pebble/keys"),
    "report": said("tests.report", "--only", "pebble"),
    "trainers": said("lessons.train", "--help"),
    "train": said("lessons.train", "pebble", "--steps", "2"),
    "lessons": said("lessons", "list"),
}
from lessons.book import hook
from minimodels.stored import models
from tests.benchmarks.works import works

config = hook.on_config({})
found["navigation"] = 0, json.dumps(config["nav"])
found["benchmarks"] = 0, " ".join(work.name for work in works())
found["load"] = 0, type(minimodels.load("tiny-pebble")).__name__
found["trained"] = 0, type(models.open_file("runs/pebble/model.safetensors")).__name__
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository as git has it, and the new system in it."""
    folder = tmp_path_factory.mktemp("copy")
    for file in tracked():
        target = folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for name, text in FILES.items():
        write(folder / name, text)
    library = stone(folder)
    torch.save(library.state_dict(), folder / "pebble.pth")
    golden(folder / "tests" / "golden" / "pebble")
    return folder


def write(path: Path, text: str) -> None:
    assert not path.exists(), f"{path} is there already"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def stone(folder: Path) -> torch.nn.Module:
    """The library's model with other numbers than those of the golden case."""
    place = folder / "checkpoints_convert" / "proof" / "references" / "pebble.py"
    spec = importlib.util.spec_from_file_location("pebble_reference", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return fill.fill_(module.Stone(4, 3), salt=1)


def golden(folder: Path) -> None:
    """A case with its answer, worked out here without any model, and a list of keys."""
    for name, config in (("tiny", {"kind": "model"}), ("keys", {"kind": "keys", "parameters": 39})):
        write(folder / name / "config.json", json.dumps({"system": "pebble", **config}))
        write(folder / name / "keys.json", json.dumps(KEYS))
    tensors = fill.checkpoint(KEYS)
    image = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = F.linear(image.mean(dim=(2, 3)), tensors["stone.stem.weight"], tensors["stone.stem.bias"])
    tokens = F.layer_norm(tokens, (4,), tensors["stone.ln.weight"], tensors["stone.ln.bias"], 1e-6)
    logits = F.linear(tokens, tensors["stone.classifier.weight"], tensors["stone.classifier.bias"])
    np.savez(folder / "tiny" / "case.npz", **{"in.image": image.numpy(), "out.logits": logits.numpy()})


def start(folder: Path, *words: str) -> subprocess.Popen:
    settings = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    command = [sys.executable, *words]
    return subprocess.Popen(
        command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def answers(copy):
    """What every command says in the copy, and its tests there."""
    found = ("pebble", "test_parity.py", "test_mutants.py", "test_golden.py")
    tests = [f"tests/systems/{name}" for name in found]
    chosen = "Pebble or pebble or limit"
    pytest_run = start(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests, "tests/house/test_house.py"
    )
    commands = start(copy, "-c", DRIVER, str(copy))
    out, errors = commands.communicate(timeout=300)
    assert commands.returncode == 0, errors
    tested, errors = pytest_run.communicate(timeout=300)
    assert pytest_run.returncode == 0, tested + errors
    return {**json.loads(out.splitlines()[-1]), "pytest": [0, tested]}


@pytest.mark.parametrize(
    "command, code, words",
    [
        ("list", 0, ["pebble-small", "~0 MB", "MIT", "Pebble, three classes"]),
        ("inspect", 0, ["pebble, plain names", "Pebble(embed_dim=4, num_classes=3)", "stone.stem.weight"]),
        ("convert", 0, ["model.safetensors: Pebble with 39 parameters"]),
        ("export", 0, ["6 tensors in plain names"]),
        ("verify", 0, ["Pebble beside plain: random weights, 39 parameters", "stone.classifier"]),
        ("verify by name", 0, ["pebble-small is not in the cache", "Pebble beside plain"]),
        ("golden", 0, ["OK    out.logits", "6 official names become our 6 tensors", "ours 39, official 39"]),
        ("report", 0, ["Pebble beside golden", "| Pebble | plain |", "| Pebble | golden |", "| ViT | timm |"]),
        ("trainers", 0, ["pebble"]),
        ("train", 0, ["wrote runs/pebble/model.safetensors", "step 2"]),
        ("lessons", 0, ["2.99", "Pebble: a colour is a class", "2.99.1", "The mean colour"]),
        ("navigation", 0, ["lessons/2_transformers/99_pebble.md", "reference/api/minimodels/pebble.md"]),
        ("navigation", 0, ["reference/api/checkpoints_convert/tables/pebble.md"]),
        ("benchmarks", 0, ["Pebble 8 px"]),
        ("load", 0, ["Pebble"]),
        ("trained", 0, ["Pebble"]),
        ("pytest", 0, ["9 passed"]),
    ],
)
def test_everything_knows_it(answers, command, code, words):
    came, said = answers[command]
    assert came == code, said
    assert not [word for word in words if word not in said], said


def test_the_site_shows_it(copy, answers):
    docs = copy / "docs"
    lesson = (docs / "lessons" / "2_transformers" / "99_pebble.md").read_text("utf-8")
    assert "colour = image.mean(dim=(2, 3))" in lesson and "The mean colour" in lesson  # source by name; its exercise
    assert "tiny-pebble" in (docs / "reference" / "cards.md").read_text("utf-8")
    assert "| Pebble | plain |" in (docs / "reference" / "parity.md").read_text("utf-8")
    assert "minimodels.pebble" in (docs / "reference" / "api" / "minimodels" / "pebble.md").read_text("utf-8")


def test_no_existing_file_was_touched(copy, answers):
    changed = [
        name
        for file in tracked()
        if (name := file.relative_to(ROOT).as_posix()) not in GENERATED
        and (copy / name).read_bytes() != file.read_bytes()
    ]
    assert not changed


def test_the_report_changed_its_own_rows_alone(copy, answers):
    before, after = (json.loads((root / GENERATED[1]).read_text())["rows"] for root in (ROOT, copy))
    assert [row for row in after if row["model"] != "Pebble"] == before
    assert all(row["output"] <= 1e-10 and row["lines"] == 11 for row in after if row["model"] == "Pebble")
