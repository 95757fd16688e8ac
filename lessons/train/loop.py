"""What every trainer shares: optimizers, a learning rate, a checkpoint that resumes bit for bit, a log, the weights."""

import argparse
import json
import math
import pickle
import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.stored import embedded, models

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"  # of a run, in its folder
SEEDS, SCENES = 400, 10**9  # seed s draws the scenes from s * SCENES on; from 400 * SCENES on lie the dice of prompts


class Settings(NamedTuple):
    """What every run is told: steps of the whole schedule, pictures a step, where it runs, what it draws."""

    steps: int
    batch: int
    device: str | torch.device = "cpu"
    compiled: bool = False
    seed: int = 0


class Trainer(ABC):
    """One run of one system. `step(number)` depends on nothing but the state and the number.

    A system's own trainer builds `model` and `optimizers` and has `step`, `validate` and `describe`.
    """

    STEPS, BATCH, EVERY = 1000, 64, 100  # what the command takes where it is told nothing else
    OPTIONS: dict[str, dict[str, Any]] = {}  # the command's options for this system alone, as argparse takes them
    model: nn.Module
    optimizers: list[torch.optim.Optimizer]

    def __init__(self, settings: Settings):
        self.about: dict[str, Any] = {"steps": settings.steps, "batch": settings.batch, "seed": settings.seed}
        self.steps, self.batch, self.compiled = settings.steps, settings.batch, settings.compiled
        self.device, self.first = torch.device(settings.device), settings.seed * SCENES
        torch.manual_seed(settings.seed)

    @abstractmethod
    def step(self, number: int) -> dict[str, float]:
        """One step of training; the values for the log, "loss" among them."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """What the model can do by now on the validation split, for the log."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself (`models.save`)."""

    def trained(self) -> nn.Module:
        """What is kept of the model."""
        return self.model

    def scenes(self, number: int) -> range:
        """The scenes of a step: each is seen once, and another seed sees others."""
        return range(self.first + number * self.batch, self.first + (number + 1) * self.batch)

    def dice(self, number: int) -> torch.Generator:
        """For what else is drawn in a step."""
        return torch.Generator().manual_seed(self.first + number)

    def faster(self, run):
        """A part of the model, compiled where that is asked."""
        return torch.compile(run) if self.compiled else run


def make_optimizers(model: nn.Module, matrix_rate: float, other_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else.

    Muon (Jordan et al. 2024) makes each update of a matrix orthogonal, so that no direction of it is learned much
    faster than another. Embeddings, positions, the patch projection and all vectors keep AdamW.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UserError(f"training needs torch.optim.Muon (torch 2.9 or newer); this is torch {torch.__version__}.")
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "blocks." in name]
    chosen = set(map(id, matrices))
    others = [p for p in model.parameters() if id(p) not in chosen]
    decayed = [{"params": [p for p in others if p.ndim == 2], "weight_decay": 0.05}]
    plain = [{"params": [p for p in others if p.ndim != 2], "weight_decay": 0.0}]
    optimizers = [
        torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(decayed + plain, lr=other_rate, betas=(0.9, 0.98)),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return optimizers


def set_rate(optimizers: list[torch.optim.Optimizer], step: int, steps: int) -> float:
    """A short warm-up, then half a cosine down to 2 %: set it for this step and return the factor."""
    warm_up = max(1, min(200, steps // 25))
    along = (step - warm_up) / max(1, steps - warm_up)
    factor = (step + 1) / warm_up if step < warm_up else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * factor
    return factor


def fast_step(device: torch.device):
    """Contexts for one step: bfloat16 products, and on a CPU attention spelled out (fused, its backward is slow)."""
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    return attention, torch.autocast(device.type, torch.bfloat16)


def update(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    """Learn from the gradients, which are then forgotten; all together they are at most of length one."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


# ---------------------------------------------------------------- a run and its folder


def save_checkpoint(path: Path, step: int, model: nn.Module, optimizers: list, about: dict) -> None:
    """Everything the next step depends on; the data need nothing, they are made from the step's number."""
    state = {
        "step": step,
        "about": about,
        "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
    }
    with write_aside(path) as aside:
        torch.save(state, aside)


def load_checkpoint(path: Path, model: nn.Module, optimizers: list, about: dict) -> int:
    """Put a checkpoint back; return the number of the next step.

    Raises:
        UserError: the checkpoint belongs to a run with other settings.
    """
    try:
        state = torch.load(path, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{path} is damaged and cannot be resumed; move it away and begin again") from error
    if state["about"] != about:
        raise UserError(
            f"{path} was made with {state['about']}, now asked for {about}; resume it with the same settings, "
            "or give another --out"
        )
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        optimizer.load_state_dict(saved)
    return state["step"]


def write_log(path: Path, **values) -> None:
    """Add one line of JSON to a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(values) + "\n")


def read_log(path: Path) -> list[dict]:
    """The lines of a log; of a step written twice (a run that was resumed) the last one counts."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({line["step"]: line for line in lines}.values())


def check_folder(folder: Path, resume: bool) -> None:
    """No run is overwritten, and none is resumed that is not there.

    Raises:
        UserError: what to do instead.
    """
    there = [name for name in (CHECKPOINT, embedded.FILE) if (folder / name).exists()]
    if there and not resume:
        way_on = "--resume goes on with that run, " if CHECKPOINT in there else ""
        raise UserError(f"{folder} holds a {there[0]} already: {way_on}--out names another folder")
    if resume and CHECKPOINT not in there:
        raise UserError(f"{folder} holds no {CHECKPOINT}: without --resume a run begins, --out names another folder")


def run(trainer: Trainer, folder: Path, every: int, minutes: float = math.inf, resume: bool = False) -> None:
    """Run a trainer to its last step, or for so many minutes; a checkpoint and a line in the log every few steps."""
    check_folder(folder, resume)
    checkpoint, first = folder / CHECKPOINT, 0
    if resume:
        first = load_checkpoint(checkpoint, trainer.model, trainer.optimizers, trainer.about)
        print(f"{folder} goes on at step {first}")
    began, losses = time.time(), []
    progress = tqdm(range(first, trainer.steps), initial=first, total=trainer.steps, unit="step", mininterval=2)
    for number in progress:
        values = trainer.step(number)
        losses.append(values["loss"])
        progress.set_postfix(loss=f"{values['loss']:.3f}")
        last = number + 1 == trainer.steps or time.time() - began > 60 * minutes
        if (number + 1) % every == 0 or last:
            save_checkpoint(checkpoint, number + 1, trainer.model, trainer.optimizers, trainer.about)
            values |= {"loss": sum(losses) / len(losses)} | validated(trainer)
            losses = []
            images, seconds = (number + 1) * trainer.batch, round(time.time() - began)
            write_log(folder / LOG, step=number + 1, images=images, seconds=seconds, **values)
            progress.write(f"step {number + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
        if last and number + 1 < trainer.steps:
            progress.write(f"stopped after step {number + 1} of {trainer.steps}; --resume goes on")
        if last:
            break


def validated(trainer: Trainer) -> dict[str, float]:
    """`trainer.validate()` of the model as it is used."""
    trainer.model.eval()
    values = trainer.validate()
    trainer.model.train()
    return values


def publish(trainer: Trainer, folder: Path) -> None:
    """Write the model in fp16 with what is needed to use it, and beside it the run's log as one small JSON file."""
    models.save(folder / embedded.FILE, trainer.trained(), trainer.describe(), torch.float16)
    lines = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()}
        for line in read_log(folder / LOG)
    ]
    write_json(folder / embedded.LOG, {**trainer.about, "log": lines})
    print(f"wrote {folder / embedded.FILE} and {embedded.LOG} beside it")


def positive(text: str) -> float:
    """A type for argparse: a number above 0."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return float(text)


def write_json(path: Path, values: Any) -> None:
    """A small file that people read too, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
