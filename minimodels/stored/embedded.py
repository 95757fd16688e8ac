"""Where the small trained models lie that come with the book: one folder each.

minimodels/weights/NAME/
    model.safetensors   the weights, with all that is needed to build the model again (`minimodels.stored.models`)
    card.md             what it learned from, what it can do and cannot
    figures.json        what `python -m lessons.train NAME --evaluate` measured
    log.json            the run that made it
"""

import json
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[1] / "weights"
FILE, CARD, FIGURES, LOG = "model.safetensors", "card.md", "figures.json", "log.json"


def names() -> list[str]:
    """The embedded models that `minimodels.load` knows."""
    return [place.name for place in sorted(WEIGHTS.iterdir()) if file(place.name).is_file()]


def folder(name: str) -> Path:
    """The folder of an embedded model."""
    return WEIGHTS / name


def file(name: str) -> Path:
    """The weights of an embedded model."""
    return folder(name) / FILE


def figures(name: str) -> Any:
    """What an embedded model was measured to do."""
    return json.loads((folder(name) / FIGURES).read_text("utf-8"))


def log(name: str) -> Any:
    """The run that made an embedded model: its settings, and under "log" one entry a checkpoint."""
    return json.loads((folder(name) / LOG).read_text("utf-8"))
