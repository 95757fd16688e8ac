"""A system that nobody knows yet, as new files: what a contributor writes, and nothing else.

Pebble looks at the mean colour of a picture and says which class it is; "plain" is the library that had it first.
"""

MODEL = '''"""Pebble: the mean colour of a picture, two layers, class scores.

Notation: B batch    H W pixels    D embed_dim    C classes
"""

from jaxtyping import Float
from torch import Tensor, nn


class Pebble(nn.Module):
    """Class scores of a picture's mean colour."""

    def __init__(self, embed_dim: int = 4, num_classes: int = 3):
        super().__init__()
        self.embed = nn.Linear(3, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        colour = image.mean(dim=(2, 3))  # (B, 3)
        return self.head(self.norm(self.embed(colour)))  # (B, C)
'''

TABLE = '''"""Pebble: the plain library's names <-> ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import Architecture, Format, System
from minimodels.pixels.preprocess import TimmPreprocess, preprocess_to_dict

NAMES = {"stem": "embed", "ln": "norm", "classifier": "head"}
ROWS: list[Row] = [
    (f"stone.{theirs}.{part}", f"{ours}.{part}") for theirs, ours in NAMES.items() for part in ("weight", "bias")
]


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes."""
    num_classes, embed_dim = tensors["head.weight"].shape
    return "Pebble", {"embed_dim": embed_dim, "num_classes": num_classes}


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Small pictures."""
    return {"preprocess": preprocess_to_dict(TimmPreprocess(8))}


SYSTEM = System("pebble", {"plain": Format(Table(ROWS))}, architecture, {}, lambda config: {}, surroundings)
ENTRIES = (
    Entry(
        name="pebble-small",
        system="pebble",
        format="plain",
        licence="MIT",
        files=(File("pebble-small.pth", about=176),),
        note="Pebble, three classes",
        url="https://example.org/pebble-small.pth",
    ),
)
'''

REFERENCE = '''"""Pebble beside the plain library."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, random_image


class Stone(nn.Module):
    """The plain library's own."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        parts = {"stem": nn.Linear(3, width), "ln": nn.LayerNorm(width, eps=1e-6)}
        self.stone = nn.ModuleDict({**parts, "classifier": nn.Linear(width, classes)})

    def forward(self, image: Tensor) -> Tensor:
        return self.stone["classifier"](self.stone["ln"](self.stone["stem"](image.flatten(2).mean(-1))))


def run(model: Any, image: Tensor) -> Outputs:
    """Class scores."""
    return {"logits": model(image)}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures of any size."""
    return {"image": random_image(generator, batch, 6, 9)}


REFERENCES = [
    Reference(
        model="Pebble",
        library="plain",
        system="pebble",
        format="plain",
        build=Stone,
        inputs=inputs,
        run=run,
        run_reference=run,
        pairs=[("embed", "stone.stem"), ("norm", "stone.ln"), ("head", "stone.classifier")],
        tiny={"width": 4, "classes": 3},
        official={"pebble-small": {"width": 4, "classes": 3}},
    )
]
'''

GOLDEN = '''"""Pebble's golden cases: class scores."""

import torch

from checkpoints_convert import build
from tests.golden import Case, Line


def run_model(case: Case, device: torch.device) -> list[Line]:
    """What the official code gave."""
    model = build(case.checkpoint(), "pebble").to(device)
    return case.judge({"out.logits": model(case.tensor("in.image", torch.float64).to(device))})


KINDS = {"model": run_model}
'''

BENCHMARKS = '''"""What is measured of Pebble."""

import torch

from checkpoints_convert.proof.references.pebble import Stone
from minimodels.pebble import Pebble
from tests.benchmarks.inputs import picture
from tests.benchmarks.measure import Run, Work


def builder(model: torch.nn.Module) -> Run:
    image = picture(8)
    return lambda: model(image)


WORKS = [Work("Pebble 8 px", {"ours": lambda: builder(Pebble()), "plain": lambda: builder(Stone(4, 3))}, bar=1.05)]
'''

TESTS = '''"""Pebble: what only it has."""

import torch

from minimodels.pebble import Pebble


def test_only_the_mean_counts():
    model, image = Pebble(), torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(model(image), model(image.flip(-1)))
'''

TRAINER = '''"""A tiny Pebble learns which channel is the brightest: `python -m lessons.train pebble`."""

from typing import Any

import torch
import torch.nn.functional as F

from lessons.train import loop
from minimodels.pebble import Pebble


class Trainer(loop.Trainer):
    """Noise, each picture seen once."""

    STEPS, BATCH, EVERY = 10, 8, 5

    def __init__(self, settings: loop.Settings):
        super().__init__(settings)
        self.model = Pebble().to(self.device)
        self.optimizers = [torch.optim.SGD(self.model.parameters(), lr=0.1)]

    def step(self, number: int) -> dict[str, float]:
        """One step of training."""
        image = torch.randn(self.batch, 3, 4, 4, generator=self.dice(number)).to(self.device)
        loss = F.cross_entropy(self.model(image), image.mean(dim=(2, 3)).argmax(dim=1))
        loss.backward()
        loop.update(self.model, self.optimizers)
        return {"loss": loss.item()}

    def validate(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return {"system": "pebble", "class": "Pebble", "arguments": {}}
'''

LESSON = '''"""Pebble: a colour is a class.

The smallest model of the book: one colour, two layers.

minutes: 5
needs: 2.2
"""

# %% [markdown]
# ## A colour is a class
#
# ::source minimodels.pebble.Pebble.forward

# %%
from minimodels.pebble import Pebble

sum(parameter.numel() for parameter in Pebble().parameters())
'''

MUTANTS = '''"""Pebbles that are wrong in one thing."""

from checkpoints_convert.proof.mutants import Mutant, forget, inside, put

PLAIN = ("Pebble", "plain")
MUTANTS = [
    Mutant("the norm is left out", forget("norm"), PLAIN),
    Mutant("LayerNorm's epsilon is 1e-5", inside("norm", put("eps", 1e-5)), PLAIN),
]
'''

EXERCISE = '''"""The mean colour  (5 minutes, difficulty 1 of 5)

The mean of each channel of pictures.
"""

import torch


# %% solution
def mean_colour(image):
    """Pictures (B, 3, H, W) -> colours (B, 3)."""
    return image.mean(dim=(2, 3))


# %% check: mean_colour against torch.mean
from lessons.checker import Mistake, Task


def cases(random):
    yield {"image": random(2, 3, 4, 5)}


TASKS = [
    Task("mean_colour", cases, reference=lambda image: torch.mean(image, dim=(2, 3)), like="torch.mean",
         mistakes=[Mistake("the sum, not the mean", lambda image: image.sum(dim=(2, 3)), fix="Divide.")]),
]


# %% hints
HINTS = [("I do not know how to begin", "`mean` takes several axes.")]
'''

CARD = """# tiny-pebble

A Pebble that has learned nothing.
"""

FILES = {
    "minimodels/pebble.py": MODEL,
    "minimodels/weights/tiny-pebble/card.md": CARD,
    "checkpoints_convert/tables/pebble.py": TABLE,
    "checkpoints_convert/proof/references/pebble.py": REFERENCE,
    "checkpoints_convert/proof/mutants/pebble.py": MUTANTS,
    "lessons/train/pebble/__init__.py": "",
    "lessons/train/pebble/trainer.py": TRAINER,
    "lessons/2_transformers/99_pebble.py": LESSON,
    "lessons/2_transformers/99_pebble/1_mean_colour.py": EXERCISE,
    "tests/systems/pebble/__init__.py": '"""Pebble."""\n\nCODE_LINES = {"minimodels/pebble.py": 20}\n',
    "tests/systems/pebble/test_pebble.py": TESTS,
    "tests/systems/pebble/golden.py": GOLDEN,
    "tests/systems/pebble/benchmarks.py": BENCHMARKS,
}
KEYS = [
    [f"stone.{name}.{part}", shape if part == "weight" else shape[:1], "float32"]
    for name, shape in {"stem": [4, 3], "ln": [4], "classifier": [3, 4]}.items()
    for part in ("weight", "bias")
]
