"""Where the small trained models lie that come with the book: one folder each.

minimodels/weights/NAME/
    model.safetensors   the weights, with all that is needed to build the model again (`minimodels.stored.models`)
    card.md             what it learned from, what it can do and cannot
    figures.json        what `python -m lessons.train ... --evaluate` measured
    log.json            the run that made it
"""

from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"


def names() -> list[str]:
    """The embedded models that `minimodels.load` knows."""
    return [place.name for place in sorted(WEIGHTS.iterdir()) if file(place.name).is_file()]


def folder(name: str) -> Path:
    """The folder of an embedded model."""
    return WEIGHTS / name


def file(name: str) -> Path:
    """The weights of an embedded model."""
    return folder(name) / "model.safetensors"
