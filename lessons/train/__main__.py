"""Train a small model of the book on Sticker World, or measure it.

    python -m lessons.train clip                     train; checkpoints, log and weights lie in runs/clip
    python -m lessons.train clip --minutes 30        stop after half an hour ...
    python -m lessons.train clip --resume            ... and go on where it stopped
    python -m lessons.train clip --seed 1 --out runs/other      other first weights, other scenes
    python -m lessons.train clip --evaluate          measure the book's weights on scenes that training never saw
    python -m lessons.train clip --evaluate runs/clip           or those of a run
    python -m lessons.train clip --help              all options

Exit codes: 0 done, 1 a bar was missed, 2 a mistake in what was given.
"""

import argparse
import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lessons.train import loop
from minimodels.errors import UserError
from minimodels.stored import embedded
from minimodels.terminal.door import check_device
from minimodels.terminal.parser import Parser, guarded, whole_number


def systems() -> list[str]:
    """All that can be trained or measured: the folders beside this file that hold a trainer or a report."""
    return sorted({path.parent.name for part in ("trainer", "report") for path in here().glob(f"*/{part}.py")})


def here() -> Path:
    """The folder of the trainers."""
    return Path(__file__).parent


def part(system: str, name: str) -> ModuleType | None:
    """A system's trainer or report; None where it has none."""
    if not (here() / system / f"{name}.py").is_file():
        return None
    return importlib.import_module(f"lessons.train.{system}.{name}")


def make_parser(system: str) -> Parser:
    """The options of one system: those of all, and its own.

    Raises:
        UserError: no such system.
    """
    if system not in systems():
        raise UserError(f"there is no trainer {system!r}; there are: {', '.join(systems())}")
    trainer, report = part(system, "trainer"), part(system, "report")
    about = ((trainer or report).__doc__ or "").partition("\n")[0]
    parser = Parser(prog=f"python -m lessons.train {system}", description=about)
    parser.set_defaults(system=system, trainer=trainer and trainer.Trainer, report=report)
    if trainer:
        add_training(parser, system, trainer.Trainer)
    if report:
        add_measuring(parser, system, report, bool(trainer))
    folder = f"folder of the run: checkpoint, log and weights (default runs/{system})" if trainer else ""
    figures = f"with --evaluate the folder that gets {embedded.FIGURES}" if report else ""
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="; ".join(filter(None, (folder, figures))))
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps")
    parser.add_argument("--threads", type=whole_number, default=1, help="CPU threads (default 1)")
    return parser


def add_training(parser: Parser, system: str, trainer: type[loop.Trainer]) -> None:
    """How a run goes."""
    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--steps", type=whole_number, default=trainer.STEPS, help=f"of the whole schedule (default {trainer.STEPS})")
    add("--minutes", type=loop.positive, default=math.inf, help="stop after so many; --resume goes on")
    add("--seed", type=seed, default=0, help="of the first weights and of the scenes (default 0: the book's)")
    add("--resume", action="store_true", help="go on with the run in its folder, told the same settings")
    add("--batch", type=whole_number, default=trainer.BATCH, help=f"pictures a step (default {trainer.BATCH})")
    add("--every", type=whole_number, default=trainer.EVERY, help=f"steps a checkpoint (default {trainer.EVERY})")
    add("--compile", action="store_true", help="compile the picture's model: faster, needs a C++ compiler")
    add_own(group, trainer.OPTIONS)


def add_measuring(parser: Parser, system: str, report: ModuleType, trained: bool) -> None:
    """What is measured: weights where there are some, else the system as it is put together."""
    group, help_text = parser.add_argument_group("measuring"), "measure on unseen scenes, do not train"
    if trained:
        book = embedded.file(f"tiny-{system}".replace("_", "-"))
        what = f"{help_text} (default: the book's weights; or a file, or the folder of a run)"
        group.add_argument("--evaluate", type=Path, metavar="WEIGHTS", nargs="?", const=book, help=what)
    else:
        group.add_argument("--evaluate", action="store_true", help=help_text)
    add_own(group, getattr(report, "OPTIONS", {}))


def add_own(group: Any, options: dict[str, dict[str, Any]]) -> None:
    """Options of one system."""
    for name, about in options.items():
        group.add_argument(f"--{name.replace('_', '-')}", **about)


def own(options: argparse.Namespace, declared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Their values."""
    return {name: getattr(options, name) for name in declared}


def seed(text: str) -> int:
    """A type for argparse: a seed whose scenes no other seed sees."""
    if not text.isdecimal() or int(text) >= loop.SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {loop.SEEDS - 1}")
    return int(text)


def train(options: argparse.Namespace) -> int:
    """Run or resume; at the end, and when the minutes are over, the weights are written."""
    if not options.trainer:
        raise UserError(f"{options.system} has no weights of its own to train; measure it: --evaluate")
    folder = options.out or Path("runs") / options.system
    loop.check_folder(folder, options.resume)
    settings = loop.Settings(options.steps, options.batch, options.device, options.compile, options.seed)
    trainer = options.trainer(settings, **own(options, options.trainer.OPTIONS))
    loop.run(trainer, folder, options.every, options.minutes, options.resume)
    loop.publish(trainer, folder)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Print the report, and keep its figures where a folder is given; 1 where a bar is missed."""
    path = options.evaluate
    weights = [path / embedded.FILE if path.is_dir() else path] if options.trainer else []
    asked = own(options, getattr(options.report, "OPTIONS", {}))
    figures, met = options.report.report(*weights, device=options.device, **asked)
    if options.out:
        loop.write_json(options.out / embedded.FIGURES, figures)
    return 0 if met else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""

    def run() -> int:
        words = list(sys.argv[1:] if arguments is None else arguments)
        if not words or words[0] in ("-h", "--help"):
            print(f"usage: python -m lessons.train NAME [options]\n\n{__doc__}\nThere are: {', '.join(systems())}")
            return 0 if words else 2
        options = make_parser(words[0]).parse_args(words[1:])
        torch.set_num_threads(options.threads)
        options.device = check_device(options.device, "bfloat16")
        return evaluate(options) if getattr(options, "evaluate", None) else train(options)

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
