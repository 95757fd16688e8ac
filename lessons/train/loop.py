"""What every training script shares: optimizers, a learning rate, a checkpoint that resumes bit for bit, a log."""

import argparse
import json
import math
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.stored import models


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
    state = torch.load(path, weights_only=True)
    if state["about"] != about:
        raise UserError(
            f"{path} was made with {state['about']}, now asked for {about}; give another --run or the same settings."
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


def run(trainer, folder: Path, every: int, minutes: float) -> None:
    """Run a trainer to its last step, or for so many minutes; resume where the folder holds a checkpoint.

    The trainer has `steps`, `batch`, `about`, `model`, `optimizers`, `step(number)` and `validate()`; the last two give
    values for the log.
    """
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        first = load_checkpoint(checkpoint, trainer.model, trainer.optimizers, trainer.about)
        print(f"resuming {folder} at step {first}")
    began, losses = time.time(), []
    progress = tqdm(range(first, trainer.steps), initial=first, total=trainer.steps, unit="step", mininterval=2)
    for number in progress:
        values = trainer.step(number)
        losses.append(values["loss"])
        progress.set_postfix(loss=f"{values['loss']:.3f}")
        last = number + 1 == trainer.steps or time.time() - began > 60 * minutes
        if (number + 1) % every == 0 or last:
            save_checkpoint(checkpoint, number + 1, trainer.model, trainer.optimizers, trainer.about)
            values |= {"loss": sum(losses) / len(losses)} | trainer.validate()
            losses = []
            images = (number + 1) * trainer.batch
            write_log(
                folder / "log.jsonl", step=number + 1, images=images, seconds=round(time.time() - began), **values
            )
            progress.write(f"step {number + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
        if last:
            break


def publish(path: Path, trainer, folder: Path, about: dict) -> None:
    """Write the model in fp16 with what is needed to use it, and beside it the run's log as one small JSON file."""
    models.save(path, trainer.model, about, torch.float16)
    lines = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()}
        for line in read_log(folder / "log.jsonl")
    ]
    log = path.with_name("log.json")
    with write_aside(log) as aside:
        aside.write_text(json.dumps({**trainer.about, "log": lines}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path} and {log}")


def add_options(parser: argparse.ArgumentParser, weights: Path, steps: int, every: int, run: str) -> None:
    """The options that every training script has."""
    add = parser.add_argument
    add("--evaluate", metavar="WEIGHTS", nargs="?", const=str(weights), help="measure weights, do not train")
    add("--steps", type=int, default=steps, help=f"steps of the whole schedule (default {steps})")
    add("--minutes", type=float, default=1e6, help="stop after so many minutes; run again to go on")
    add("--batch", type=int, default=256, help="pictures a step (default 256)")
    add("--every", type=int, default=every, help=f"steps between checkpoints (default {every})")
    add("--run", default=run, help=f"folder of checkpoint and log (default {run}); an existing run is resumed")
    add("--out", help="where the weights go (default: into the run's folder)")
    add("--device", default="cpu", help="cpu (default), cuda")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--compile", action="store_true", help="compile the picture's model: a quarter faster, needs a C++ compiler")
