"""Every model name that a library knows, through the converter: it agrees, or is refused in one line that says why.

A part of the sweep is a file of this folder that ends in `_names.py`, with `NAMES` (all of the library's names) and
`attempt(name, folder) -> Outcome`: the library builds the model, shrunk in depth, its parameters are redrawn, it is
saved in the folder with its config as the library writes it, and `checkpoints_convert.load` reads the folder.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from torch import Tensor

from checkpoints_convert.proof.compare import TOLERANCE
from checkpoints_convert.proof.verify import difference
from minimodels.errors import UserError

HERE = Path(__file__).parent
BROKEN = "an exception: "


@dataclass(frozen=True)
class Outcome:
    """What became of one name.

    Args:
        name, group: the library's name, and under which heading of the table it stands.
        agrees: ours gives the library's answers.
        difference: the largest one in float64; None where ours was refused.
        words: the refusal, in one line; empty where the two agree.
    """

    name: str
    group: str
    agrees: bool
    difference: float | None
    words: str = ""

    @property
    def refused(self) -> bool:
        """Whether the converter said in one line that it does not have this model."""
        return self.difference is None and not self.words.startswith(BROKEN) and "\n" not in self.words

    @property
    def fine(self) -> bool:
        """Anything else is a defect: another answer, an exception that nobody foresaw."""
        return self.agrees or self.refused

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "refused" if self.refused else "WRONG"
        told = self.words if self.difference is None else f"{self.difference:.1e}"
        return f"{verdict:<8} {self.group}: {self.name}: {told}"


def judge(name: str, group: str, expected: dict[str, Tensor], ours: Callable[[], dict[str, Tensor]]) -> Outcome:
    """The library's answers beside ours; `ours` loads and runs, and may refuse with a `UserError`."""
    try:
        answers = ours()
    except UserError as error:
        return Outcome(name, group, False, None, str(error))
    largest = max(difference(answers[key], answer) for key, answer in expected.items())
    return Outcome(name, group, largest <= TOLERANCE, largest)


def parts() -> list[ModuleType]:
    """The libraries' parts, one file each."""
    return [importlib.import_module(f"{__name__}.{path.stem}") for path in sorted(HERE.glob("*_names.py"))]


def library_of(part: ModuleType) -> str:
    """timm_names -> timm: what the groups of its rows begin with, up to a comma."""
    return part.__name__.rpartition(".")[2].removesuffix("_names")


def sweep(only: str = "") -> Iterator[Outcome]:
    """Every name of every part, or those whose "part name" contains a text; an exception does not stop the others."""
    for part in parts():
        for name in part.NAMES:
            if only.lower() in f"{part.__name__.rpartition('.')[2]} {name}".lower():
                with TemporaryDirectory() as folder:
                    try:
                        yield part.attempt(name, Path(folder))
                    except Exception as error:
                        words = BROKEN + f"{type(error).__name__}: {error}"
                        yield Outcome(name, library_of(part), False, None, words)
