"""Which encoder to freeze, and which loss: short trainings of every setting, three seeds each, for lesson 3.13.

    python -m lessons.train.projected_clip.settings        about twenty minutes on one CPU core that does nothing else

Writes settings.json beside this file after each run. A run that is there already is not repeated.
"""

import json
import time
from pathlib import Path

import torch

from lessons.stickers import exams
from lessons.stickers.splits import TEST
from lessons.train import loop, measures
from lessons.train.projected_clip.trainer import Trainer

FILE = Path(__file__).with_suffix(".json")
STEPS, BATCH, SEEDS, COUNT = 150, 128, 3, 1000
SETTINGS = (("soft", "none"), ("soft", "image"), ("soft", "text"), ("soft", "both"), ("clip", "none"))


def measured(loss: str, freeze: str, seed: int) -> dict[str, object]:
    """One short training and what it has learned, on scenes that no training sees."""
    trainer = Trainer(loop.Settings(STEPS, BATCH, seed=seed), loss=loss, freeze=freeze)
    began = time.process_time()
    for number in range(STEPS):
        trainer.step(number)
    seconds = time.process_time() - began
    model = trainer.model.eval()
    model.tokenize = trainer.tokenizer
    ranks = measures.retrieval_ranks(model, model.tokenize, exams.captioned(TEST, COUNT))
    return {
        "loss": loss,
        "freeze": freeze,
        "seed": seed,
        "learns": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds": round(seconds),
        "recall_at_1": (ranks < 1).float().mean().item(),
    }


def main() -> None:
    """All settings with the first seed, then with the next."""
    torch.set_num_threads(1)
    rows = json.loads(FILE.read_text("utf-8"))["runs"] if FILE.is_file() else []
    done = {(row["loss"], row["freeze"], row["seed"]) for row in rows}
    for seed in range(SEEDS):
        for loss, freeze in SETTINGS:
            if (loss, freeze, seed) in done:
                continue
            rows.append(measured(loss, freeze, seed))
            print(rows[-1], flush=True)
            loop.write_json(FILE, {"steps": STEPS, "batch": BATCH, "count": COUNT, "runs": rows})


if __name__ == "__main__":
    main()
