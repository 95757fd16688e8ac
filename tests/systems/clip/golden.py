"""CLIP's golden cases: openai/CLIP's models, key lists of the released archives, tokenizer and preprocessing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from checkpoints_convert import build
from minimodels.clip import DualEncoder
from minimodels.clip_resnet import CLIPResNet
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess, center_crop, resize_shorter_side, to_tensor
from minimodels.words.byte_pair import BytePairTokenizer
from tests.golden import Case, Line, take


def build_clip(case: Case, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> nn.Module:
    """Our CLIP from OpenAI's names; key lists of tiny cases lack the three numbers by which they are known."""
    form = "openai_resnet" if any(name.startswith("visual.attnpool.") for name in tensors) else "openai"
    heads = {f"{tower}_heads": number for tower, number in case.config.get("heads", {}).items()}
    return build(tensors, "clip", format=form, dtype=dtype, **heads)


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Both towers, every block, in float64; the features again in float32."""
    tensors = case.checkpoint()
    computed = {}
    for prefix, dtype in (("out", torch.float64), ("f32", torch.float32)):
        model = build_clip(case, tensors, dtype).to(device)
        image, ids = case.tensor("in.image", dtype).to(device), case.tensor("in.text").long().to(device)
        computed |= {f"{prefix}.{name}": tensor for name, tensor in observe(model, image, ids).items()}
    return case.judge(computed)


def observe(model: Any, image: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Every tensor that a CLIP case can store, by its name there."""
    seen: dict[str, Tensor] = {}
    image_features, text_features = (
        model.encode_image(image),
        model.encode_text(ids),
    )  # texts cut at the last end-of-text
    with noting(model, seen):
        model.encode_image(image)
        seen["text.ln_final"] = model.text_tower.encode(ids)  # the whole context
        if isinstance(model, CLIPResNet):
            seen["visual.stem"] = model.image_tower.stem_features(image)
    logits = model(image, ids)
    answers = {"image_features": image_features, "text_features": text_features}
    return {**seen, **answers, "logits_per_image": logits, "logits_per_text": logits.T}


@contextmanager
def noting(model: DualEncoder, seen: dict[str, Tensor]) -> Iterator[None]:
    """Note the blocks' outputs under OpenAI's names while the model runs."""
    tower: Any = model.image_tower
    modules: dict[str, Any] = {f"text.block{i}": block for i, block in enumerate(model.text_tower.blocks)}
    if isinstance(model, CLIPResNet):
        modules |= {f"visual.layer{i + 1}": stage for i, stage in enumerate(tower.stages)}
        modules["visual.attnpool"] = tower.attention_pool
    else:
        modules |= {f"visual.block{i}": block for i, block in enumerate(tower.blocks)}
        modules |= {"visual.ln_pre": tower.norm_pre, "visual.ln_post": tower.norm_post}
    hooks = [
        module.register_forward_hook(lambda module, given, output, name=name: seen.__setitem__(name, output))
        for name, module in modules.items()
    ]
    yield
    for hook in hooks:
        hook.remove()


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name, and our model has the official number of parameters and sizes."""
    lines, model = take(case, lambda tensors: build_clip(case, tensors))
    if model is None:
        return lines
    arguments = model.about["arguments"]
    for name, value in sizes_told(case).items():
        lines.append(Line(name, arguments[name] == value, f"ours {arguments[name]}, official {value}"))
    return lines


def sizes_told(case: Case) -> dict[str, Any]:
    """OpenAI's own constructor numbers, by our names; those that a shape cannot tell among them."""
    told = case.config.get("clip", {})
    depth = "vision_depths" if isinstance(told.get("vision_layers"), list) else "vision_depth"
    names = {
        "embed_dim": "embed_dim",
        "image_resolution": "image_size",
        "vision_patch_size": "patch_size",
        "vision_width": "vision_width",
        "context_length": "context_length",
        "vocab_size": "vocab_size",
        "transformer_width": "text_width",
        "transformer_heads": "text_heads",
        "transformer_layers": "text_depth",
        "vision_layers": depth,
    }
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return {names[key]: value for key, value in plain.items() if key in names and value is not None}


def run_tokenizer(case: Case, device: torch.device) -> list[Line]:
    """Every string's ids: cut to the context, cut to CRIS's 17, refused when they do not fit; and decoded again."""
    tokenizer = BytePairTokenizer.clip(case.config.get("context_length", 77))
    context, sot, eot = case.config.get("context_length", 77), case.config.get("sot"), case.config.get("eot")
    wrong: dict[str, list[str]] = {}
    counts: dict[str, int] = {}

    def check(field: str, text: str, equal: bool) -> None:
        counts[field] = counts.get(field, 0) + 1
        wrong.setdefault(field, []).extend([] if equal else [text])

    for entry in case.read("cases.json"):
        text, ids = entry["text"], entry["ids"]
        check("ids", text, tokenizer([text], truncate=True)[0].tolist() == ids + [0] * (context - len(ids)))
        check("fits", text, fits(tokenizer, text) == entry.get("fits", True))
        if "length" in entry:
            check("length", text, len(tokenizer.encode(text)) + 2 == entry["length"])
        for field in (key for key in entry if key.startswith("ids") and key[3:].isdigit()):
            length, row = int(field[3:]), entry[field]
            ours = tokenizer([text], context_length=length, truncate=True)[0].tolist()
            check(field, text, ours == row + [0] * (length - len(row)))
        if "decoded" in entry:
            check("decoded", text, tokenizer.decode(tokenizer.encode(text)[: context - 2]) == entry["decoded"])
    lines = []
    for field, texts in wrong.items():
        first = f"; first wrong: {texts[0]!r:.60}" if texts else ""
        lines.append(Line(field, not texts, f"{counts[field] - len(texts)} of {counts[field]} strings equal{first}"))
    for name, value, ours in (("start", sot, tokenizer.start), ("end", eot, tokenizer.end)):
        if value is not None:
            lines.append(Line(name, ours == value, f"ours {ours}, official {value}"))
    return lines


def fits(tokenizer: BytePairTokenizer, text: str) -> bool:
    """Whether the text is taken without being cut."""
    try:
        tokenizer([text])
    except UserError:
        return False
    return True


def run_preprocess(case: Case, device: torch.device) -> list[Line]:
    """Pictures of every mode: the 8 bit pixels exactly, the normalised numbers to the case's tolerance."""
    computed = {}
    numbers = {key: tuple(case.config[key]) for key in ("mean", "std") if key in case.config}
    for at, told in enumerate(case.config["cases"]):
        with Image.open(case.path / told["file"]) as picture:
            picture.load()
        side = told["n_px"]
        pixels = center_crop(resize_shorter_side(picture, side), side, side).convert("RGB")
        computed[f"out.uint8_{at}"] = (to_tensor(pixels) * 255).round().to(torch.uint8).permute(1, 2, 0)
        computed[f"out.tensor{at}"] = CLIPPreprocess(side, **numbers)(picture)
    return case.judge(computed)


KINDS = {"model": run_model, "keys": run_keys, "tokenizer": run_tokenizer, "preprocess": run_preprocess}
# Which rows of the parity table the copied cases belong to.
ROWS = {"tiny_vit": "CLIP ViT", "tiny_rn": "CLIP ResNet", "tokenizer": "tokenizer", "preprocess": "preprocess"}
