"""`python -m lessons.train NAME`: every system is found, a run is never overwritten, mistakes are one line."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

import lessons.train
from lessons.train import __main__ as command
from lessons.train import loop
from lessons.train.sam import data as sam_data
from lessons.train.sam import trainer as sam
from lessons.train.vit import trainer as vit
from minimodels.errors import UserError
from minimodels.stored import embedded, models
from tests.house.test_house import tracked

TRAINED = [name for name in command.systems() if (command.here() / name / "trainer.py").is_file()]
SHARED = ("--steps", "--minutes", "--device", "--seed", "--resume", "--evaluate", "--out", "--batch", "--every")
TRAINER = """
import torch
from lessons.train import loop
from minimodels.vit import ViT

NUMBERS = dict(image_size=(4, 4), patch_size=4, embed_dim=8, depth=1, num_heads=2, mlp_dim=8, num_classes=2)


class Trainer(loop.Trainer):
    STEPS, BATCH, EVERY = 4, 2, 2
    OPTIONS = {"first_colour": {"type": float, "default": 0.5, "help": "of every picture"}}

    def __init__(self, settings, first_colour=0.5):
        super().__init__(settings)
        self.colour = first_colour
        self.model = ViT(**NUMBERS)
        self.optimizers = loop.make_optimizers(self.model, 0.1, 0.1)

    def step(self, number):
        image = torch.full((self.batch, 3, 4, 4), self.colour) * torch.tensor(self.scenes(number))[:, None, None, None]
        loss = (self.model(image) - 1).square().mean()
        loss.backward()
        loop.update(self.model, self.optimizers)
        return {"loss": loss.item()}

    def validate(self):
        assert not self.model.training
        with torch.no_grad():
            return {"first": self.model(torch.zeros(1, 3, 4, 4))[0, 0].item()}

    def describe(self):
        return {"system": "toy", "class": "ViT", "arguments": NUMBERS, "trained_on": "nothing"}
"""
REPORT = """
from lessons.train import measures
from minimodels.vit import ViT

OPTIONS = {"bar": {"type": float, "default": 0.5, "help": "the bar"}}


def report(path, device, bar):
    parts = len(measures.open_weights(path, ViT, device).state_dict())
    return {"parts": parts}, bar <= 0.5
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A system that is nothing but two new files; gives the folder in which it trains."""
    place = tmp_path / "systems"
    (place / "toy").mkdir(parents=True)
    (place / "toy" / "trainer.py").write_text(TRAINER)
    (place / "toy" / "report.py").write_text(REPORT)
    monkeypatch.setattr(command, "here", lambda: place)
    monkeypatch.setattr(lessons.train, "__path__", [str(place)])
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "runs" / "toy"
    for name in [name for name in sys.modules if name.startswith("lessons.train.toy")]:
        del sys.modules[name]
    vars(lessons.train).pop("toy", None)


def fails(capsys, line: str, *words: str) -> None:
    """The command ends in one clear line and exit code 2."""
    capsys.readouterr()
    assert command.main(shlex.split(line)) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1, told
    assert all(word in told for word in words), told


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_trainer_is_found():
    beside = {path.name for path in command.here().iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert set(command.systems()) == beside >= {"clip", "clipseg", "dinov2", "lavt", "matcher", "sam", "vit"}
    for name in TRAINED:
        assert issubclass(command.part(name, "trainer").Trainer, loop.Trainer)
        assert command.part(name, "report") and f"tiny-{name}".replace("_", "-") in embedded.names()


@pytest.mark.parametrize("system", command.systems())
def test_help_lists_the_options(system, capsys):
    with pytest.raises(SystemExit) as end:
        command.main([system, "--help"])
    told = capsys.readouterr().out
    assert end.value.code == 0
    assert all(option in told for option in (SHARED if system in TRAINED else ("--evaluate", "--out", "--device")))
    for part in ("trainer", "report"):
        module = command.part(system, part)
        declared = getattr(module.Trainer if module and part == "trainer" else module, "OPTIONS", {})
        assert all(f"--{name.replace('_', '-')} " in told for name in declared)


def test_the_command_without_a_name_says_which_there_are(capsys):
    assert command.main(["--help"]) == 0 and command.main([]) == 2
    told = capsys.readouterr().out
    assert all(told.count(name) >= 2 for name in command.systems())


@pytest.mark.parametrize(
    "line, words",
    [
        ("nothing", ["'nothing'", "clipseg"]),
        ("--steps 3 clip", ["'--steps'", "clipseg"]),
        ("vit --stepz 4", ["--stepz"]),
        ("vit --steps 0", ["--steps", "at least 1"]),
        ("vit --minutes=-1", ["--minutes", "above 0"]),
        ("vit --seed 400", ["--seed", "0 to 399"]),
        ("vit --device tpu", ["tpu", "cpu"]),
        ("vit --resume --out nowhere", ["nowhere", "checkpoint.pt", "--out"]),
        ("matcher", ["matcher", "--evaluate"]),
        ("matcher --steps 4", ["--steps"]),
        ("lavt --batch 3 --out nowhere", ["--batch 3", "even"]),
        ("lavt --first-phase 3", ["--first-phase"]),
        ("clipseg --size 20 --out nowhere", ["--size 20", "8"]),
    ],
)
def test_a_mistake_is_one_line(line, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fails(capsys, line, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("system", TRAINED)
def test_missing_weights_are_one_line(system, tmp_path, capsys):
    fails(capsys, f"{system} --evaluate {tmp_path / 'none.safetensors'}", "none.safetensors")
    other = "tiny-vit" if system != "vit" else "tiny-dinov2"
    fails(capsys, f"{system} --evaluate {embedded.folder(other)}", "holds a")


def test_a_run_leaves_checkpoint_log_and_weights(toy):
    assert command.main(["toy"]) == 0
    assert set(contents(toy)) == {"checkpoint.pt", "log.jsonl", "log.json", "model.safetensors"}
    line = loop.read_log(toy / "log.jsonl")[-1]
    assert line["step"] == 4 and line["images"] == 8
    model = models.open_file(toy / "model.safetensors")
    assert line["first"] == pytest.approx(model(torch.zeros(1, 3, 4, 4))[0, 0].item(), abs=1e-2)  # stored in fp16


def test_no_run_is_overwritten(toy, capsys):
    assert command.main(["toy"]) == 0
    before = contents(toy)
    fails(capsys, "toy", "checkpoint.pt", "--resume", "--out")
    (toy / "checkpoint.pt").unlink()
    fails(capsys, "toy", "model.safetensors", "--out")
    fails(capsys, "toy --resume", "checkpoint.pt", "--out")
    assert contents(toy) == {name: data for name, data in before.items() if name != "checkpoint.pt"}
    assert command.main(["toy", "--out", "elsewhere"]) == 0 and Path("elsewhere/model.safetensors").is_file()


def test_a_run_goes_on_where_it_stopped(toy, capsys):
    """In four parts as in one: the same weights, the same log."""
    assert command.main(["toy", "--out", "whole", "--every", "1"]) == 0
    assert command.main(["toy", "--minutes", "1e-9"]) == 0
    assert "after step 1 of 4; --resume goes on" in "".join(capsys.readouterr())
    for _ in range(3):
        assert command.main(["toy", "--minutes", "1e-9", "--resume"]) == 0
    whole, parts = (models.open_file(folder / "model.safetensors").state_dict() for folder in (Path("whole"), toy))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor)
    logs = [loop.read_log(folder / "log.jsonl") for folder in (Path("whole"), toy)]
    assert [line["step"] for line in logs[1]] == [1, 2, 3, 4]
    assert [line["loss"] for line in logs[1]] == pytest.approx([line["loss"] for line in logs[0]])


def test_a_run_of_other_settings_is_not_resumed(toy, capsys):
    assert command.main(["toy"]) == 0
    before = contents(toy)
    fails(capsys, "toy --resume --seed 1", "'seed': 0", "'seed': 1", "--out")
    fails(capsys, "toy --resume --steps 5", "'steps': 4", "'steps': 5")
    assert contents(toy) == before
    (toy / "checkpoint.pt").write_bytes(before["checkpoint.pt"][:100])
    fails(capsys, "toy --resume", "damaged")


def test_an_option_of_one_system_reaches_its_trainer(toy):
    for colour in ("0.5", "0.9"):
        assert command.main(["toy", "--first-colour", colour, "--out", colour]) == 0
    losses = [loop.read_log(Path(colour) / "log.jsonl")[0]["loss"] for colour in ("0.5", "0.9")]
    assert losses[0] != losses[1]


def test_evaluation_takes_a_file_or_a_folder_and_keeps_figures(toy):
    assert command.main(["toy"]) == 0
    assert command.main(["toy", "--evaluate", str(toy / "model.safetensors")]) == 0
    assert not (toy / "figures.json").exists()
    assert command.main(["toy", "--evaluate", str(toy), "--bar", "0.9", "--out", "measured"]) == 1
    assert list(contents(Path("measured"))) == ["figures.json"]


@pytest.mark.parametrize("script", [vit, sam], ids=["vit", "sam"])
def test_another_seed_is_another_draw(script):
    """Other first weights, other scenes and other dice; the seed is kept in what a checkpoint says of itself."""
    trainers = [script.Trainer(loop.Settings(steps=2, batch=2, seed=seed)) for seed in (0, 0, 1)]
    first, again, other = trainers
    assert [trainer.about["seed"] for trainer in trainers] == [0, 0, 1]
    assert first.scenes(1) == again.scenes(1) == range(2, 4) and not set(first.scenes(1)) & set(other.scenes(1))
    assert first.dice(1).initial_seed() == 1 != other.dice(1).initial_seed()
    weights = [dict(trainer.model.state_dict()) for trainer in trainers]
    assert any(not torch.equal(tensor, weights[2][name]) for name, tensor in weights[0].items())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    other.model.load_state_dict(weights[0])  # the same weights see other scenes
    assert abs(first.step(0)["loss"] - other.step(0)["loss"]) > 1e-3


def test_no_two_seeds_share_a_scene():
    """A billion scenes a seed; the dice of prompts, which start from numbers of their own, lie beyond the last."""
    batches = [command.part(name, "trainer").Trainer.BATCH for name in TRAINED]
    steps = loop.SCENES // max(batches)
    assert steps > 1_000_000
    last = vit.Trainer(loop.Settings(steps=1, batch=max(batches), seed=loop.SEEDS - 1)).scenes(steps - 1)
    asides = [module.ASIDE for module in (command.part(name, "data") for name in TRAINED) if module]
    assert sam_data.ASIDE in asides and last.stop <= min(asides) and last.stop + max(asides) <= 10**12


def test_every_command_line_in_the_texts_parses():
    """What cards, lessons, pages and comments tell a reader to type."""
    found = []
    for path in tracked():
        left_out = path == Path(__file__) or {"outputs", "house"} & set(path.parts)  # tests/house builds a system
        if path.suffix in (".py", ".md", ".toml", "") and not left_out:
            text = path.read_text("utf-8", errors="ignore")
            for words in re.findall(r"python -m lessons\.train (?!NAME)([^`\n\"#]*)", text):
                found.append(re.split(r"  |[,.;:)]( |$)", words)[0].strip())
    told = [shlex.split(line) for line in found if line and "{" not in line]
    assert len(told) > 20
    for name, *words in told:
        assert command.make_parser(name).parse_args([word for word in words if word != "--help"])


def test_a_wrong_command_line_is_noticed():
    for line in ("clip --run my/clip", "lavt --json figures.json", "clap"):
        name, *words = shlex.split(line)
        with pytest.raises(UserError):
            command.make_parser(name).parse_args(words)
