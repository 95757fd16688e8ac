"""CLIPS' golden cases: open_clip's CLIP as the released file makes it, its names, and the official tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints_convert import build
from checkpoints_convert.tables.clips import from_config
from minimodels.errors.untrusted import Settings
from minimodels.words.word_rows import WordRows
from tests.golden import Case, Line, take
from tests.systems.clip.golden import noting

PIECES = Path(__file__).parents[2] / "golden" / "clips" / "tokenizer" / "pieces.json"  # of BERT's, by their ids


def told(case: Case) -> dict[str, Any]:
    """What the case's open_clip configuration tells."""
    sizes = from_config(Settings({"model_cfg": case.config["clip"]}, "the case's config"))
    heads = {f"{tower}_heads": number for tower, number in case.config.get("heads", {}).items()}
    return sizes | heads


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Both towers, every block, logits, and the features as open_clip normalises them."""
    model: Any = build(case.checkpoint(), "clips", **told(case)).to(device)
    image, ids = case.tensor("in.image", torch.float64).to(device), case.tensor("in.text").long().to(device)
    seen: dict[str, Tensor] = {}
    with noting(model, seen):
        features, texts = model.encode_image(image), model.encode_text(ids)
        seen["text.ln_final"] = model.text_tower.encode(ids)
    logits = model(image, ids)
    answers = {
        "image_features": features,
        "text_features": texts,
        "logits_per_image": logits,
        "logits_per_text": logits.T,
        "image_features_normalized": F.normalize(features, dim=-1),
        "text_features_normalized": F.normalize(texts, dim=-1),
    }
    return case.judge({f"out.{name}": tensor for name, tensor in {**seen, **answers}.items()})


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name, and our model has the official number of parameters."""
    return take(case, lambda tensors: build(tensors, "clips", **told(case)))[0]


def run_tokenizer(case: Case, device: torch.device) -> list[Line]:
    """Every text in both frames. The vocabulary is the part of BERT's that these texts have; the rest is unused."""
    known, context = json.loads(PIECES.read_text(encoding="utf-8")), case.config["context_length"]
    vocabulary = [known.get(str(id), f"[unused{id - 1}]") for id in range(30522)]
    cases, lines = case.read("cases.json"), []
    for field, frame in (("ids", "clips"), ("ids_strip_sep", "no_end")):
        tokenizer, wrong = WordRows(vocabulary, context_length=context, frame=frame), []
        for entry in cases:
            row = tokenizer([entry["text"]], truncate=True)[0].tolist()
            wanted = entry[field] + [case.config["pad"]] * (context - len(entry[field]))
            if frame == "clips":
                wanted[-1] = case.config["cls"]
            wrong += [] if row == wanted else [entry["text"]]
        shown = f"; first {wrong[0][:40]!r}" if wrong else ""
        lines.append(Line(field, not wrong, f"{len(wrong)} of {len(cases)} differ{shown}"))
    return lines


KINDS = {"model": run_model, "keys": run_keys, "tokenizer": run_tokenizer}
ROWS = {"tiny": "CLIPS", "tokenizer": "tokenizer"}
