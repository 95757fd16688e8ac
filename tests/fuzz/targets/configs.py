"""The configs of transformers, timm and open_clip beside weights, with values that are odd, missing or of another type.

A config is refused in one line, or our model is the one that the library builds from the same config.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from checkpoints_convert.load import load
from checkpoints_convert.proof.references import Reference
from checkpoints_convert.proof.verify import redraw_all
from minimodels.errors import UserError
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.odd import odd_config
from tests.fuzz.same import assert_same_answers

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8))


class Checkpoint:
    """A folder as a library leaves it.

    Args:
        folder: with weights and configs.
        reference: how both sides are asked.
        build: a folder with a changed config -> the library's model; anything it raises is its refusal.
    """

    def __init__(self, folder: Path, reference: Reference, build: Callable[[Path], nn.Module]):
        self.folder, self.reference, self.build = folder, reference, build
        self.configs = {file.name: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))}


@cache
def checkpoints() -> dict[str, Checkpoint]:
    """One of every library and system."""
    found: dict[str, Checkpoint] = {}
    for title, (reference, theirs) in bases.reference_models().items():
        if reference.library == "transformers" and hasattr(theirs, "save_pretrained"):
            folder = bases.kept_folder()
            theirs.save_pretrained(folder)
            (folder / "preprocessor_config.json").write_text(json.dumps(processor(reference)))
            found[title] = Checkpoint(folder, reference, transformers_builder(type(theirs)))
    for reference_title, name, arguments, pretrained in timm_models():
        reference = bases.reference_models()[reference_title][0]
        found[f"{name} of timm"] = timm_checkpoint(reference, name, arguments, pretrained)
    for title, (reference, theirs) in bases.reference_models().items():
        if reference.library == "open_clip" and "vision_cfg" in reference.tiny:
            found[f"{title}'s config"] = open_clip_checkpoint(reference, theirs)
    return found


def processor(reference: Reference) -> dict[str, Any]:
    """A preprocessor_config.json as the official repositories of a system have it, for small pictures."""
    kind = {"clip": "CLIP", "dinov2": "Bit"}.get(reference.system, "ViT")
    size: Any = {"shortest_edge": 28} if kind in ("CLIP", "Bit") else {"height": 24, "width": 24}
    if reference.system == "sam":
        side = reference.tiny["vision"]["image_size"]
        steps = dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb"), True)
        square = {"size": {"longest_edge": side}, "pad_size": {"height": side, "width": side}}
        mean = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}
        about = {"image_processor_type": "SamImageProcessor", "resample": 2, "rescale_factor": 1 / 255}
        return {**about, **steps, **square, **mean}
    return {
        "image_processor_type": f"{kind}ImageProcessor", "size": size, "crop_size": {"height": 24, "width": 24},
        "do_resize": True, "do_center_crop": kind in ("CLIP", "Bit"), "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "do_convert_rgb": True, "resample": 3, "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.25],
    }  # fmt: skip


def transformers_builder(kind: Any) -> Callable[[Path], nn.Module]:
    """transformers' own way: the config, then the weights, every name of them."""

    def build(folder: Path) -> nn.Module:
        model, report = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="sdpa")
        if any(report.values()):
            raise ValueError(f"not strict: {report}")
        return model

    return build


def timm_models() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """timm's config.json: the architecture, what differs from it, and its pretrained_cfg."""
    mean = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25], "crop_pct": 0.9, "interpolation": "bicubic"}
    vit = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 16, "patch_size": 8}
    dino = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 42, "num_classes": 0}
    swin = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "img_size": 32, "patch_size": 2, "window_size": 4}
    return [
        ("ViT beside timm", "vit_tiny_patch16_224", vit, {**mean, "input_size": [3, 16, 16]}),
        ("DINOv2 beside timm", "vit_small_patch14_dinov2", dino, {**mean, "input_size": [3, 42, 42]}),
        ("Swin beside timm", "swin_tiny_patch4_window7_224", swin, {**mean, "input_size": [3, 32, 32]}),
        ("ResNet beside timm", "resnet18", {"layers": [1, 1, 1, 1]}, {**mean, "input_size": [3, 64, 64]}),
    ]


def timm_checkpoint(
    reference: Reference, name: str, arguments: Mapping[str, Any], pretrained: Mapping[str, Any]
) -> Checkpoint:
    """A folder as timm's hub has it."""
    import timm
    from safetensors.torch import save_file

    classes = arguments.get("num_classes", 5)
    model = redraw_all(timm.create_model(name, **{**arguments, "num_classes": classes}))
    folder = bases.kept_folder()
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    config = {
        "architecture": name,
        "num_classes": classes,
        "num_features": model.num_features,
        "global_pool": getattr(model.global_pool, "pool_type", model.global_pool),
        "model_args": {key: value for key, value in arguments.items() if key != "num_classes"},
        "pretrained_cfg": {**pretrained, "num_classes": classes, "fixed_input_size": True, "crop_mode": "center"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint(folder, reference, lambda place: timm.create_model(f"local-dir:{place}", pretrained=True))


def open_clip_checkpoint(reference: Reference, theirs: nn.Module) -> Checkpoint:
    """A folder as open_clip's hub has it."""
    import open_clip
    from safetensors.torch import save_file

    folder = bases.kept_folder()
    save_file(theirs.state_dict(), folder / "open_clip_model.safetensors", {"format": "pt"})
    preprocess = {"size": 24, "mode": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}
    preprocess |= {"interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}
    config = {"model_cfg": dict(reference.tiny), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return Checkpoint(folder, reference, lambda place: open_clip.create_model(f"local-dir:{place}", precision="fp64"))


def make(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A checkpoint, and one of its configs changed."""
    title = rng.choice(list(checkpoints()))
    file = rng.choice(list(checkpoints()[title].configs))
    if file == "preprocessor_config.json" and rng.random() < 0.5:
        file = "config.json"
    config, told = odd_config(rng, checkpoints()[title].configs[file])
    return {"checkpoint": title, "file": file, "config": config, "changed": told}, {}


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Load it as somebody would, and compare."""
    base = checkpoints()[values["checkpoint"]]
    place = folder / "model"
    shutil.copytree(base.folder, place, copy_function=lambda a, b: Path(b).symlink_to(a))
    (place / values["file"]).unlink()
    (place / values["file"]).write_text(json.dumps(values["config"]), encoding="utf-8")
    with warnings.catch_warnings(action="ignore"):
        ours: Any = load(place, dtype=torch.float64)
        if values["file"] == "preprocessor_config.json" or "preprocess" in str(values["changed"]):
            compare_pixels(ours, values["file"], values["config"], base.reference.system)
        return compare(base, ours, place, values["config"])


def compare(base: Checkpoint, ours: Any, place: Path, config: Any) -> str:
    """The same answers as the library's model, where the library makes one of this config."""
    try:
        inputs = base.reference.inputs(ours.about["arguments"], torch.Generator().manual_seed(0), 1)
    except RuntimeError:  # a picture of that size has no room in this process
        return "alone"
    inputs = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
    with torch.no_grad():
        answers = base.reference.run(ours, **inputs)
        theirs = their_answers(base, place, inputs) if tame(config) else None
    if theirs is None:
        return "alone"
    assert_same_answers(answers, theirs, f"{base.reference.model} of {base.reference.library} accepted")
    return "loaded"


def tame(config: Any) -> bool:
    """Whether the library can build a model of this config without taking all memory and time that there is."""
    if isinstance(config, (dict, list)):
        return len(config) < 500 and all(map(tame, config.values() if isinstance(config, dict) else config))
    return not isinstance(config, (int, float)) or abs(config) <= 600


def their_answers(base: Checkpoint, place: Path, inputs: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """What the library answers; None where it fails on this config, in whatever way."""
    try:
        return base.reference.run_reference(base.build(place).double().eval(), **inputs)
    except (Exception, SystemExit):
        return None


def compare_pixels(ours: Any, file: str, config: Any, system: str) -> None:
    """The same pixels as transformers' image processor of this config."""
    if file != "preprocessor_config.json" or not hasattr(ours, "preprocess") or system in ("sam", "clipseg"):
        return
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    kind = CLIPImageProcessorPil if system in ("clip", "dinov2") else ViTImageProcessorPil
    try:
        pixels = ours.preprocess(PICTURE)
    except UserError:
        return
    try:
        theirs = torch.as_tensor(kind.from_dict(config)(PICTURE)["pixel_values"][0])
    except Exception:  # their refusal has many names
        return
    if not pixels.isfinite().all():
        raise Wrong(f"pixels that are no numbers: {system}")
    if pixels.shape != theirs.shape or not torch.equal(pixels, theirs.float()):
        raise Wrong(f"other pixels than transformers': {system}")


def prepare() -> None:
    """Each checkpoint with its configs as they are: what is imported late is here then."""
    for title, base in checkpoints().items():
        with TemporaryDirectory() as folder:
            file, config = next(iter(base.configs.items()))
            values = {"checkpoint": title, "file": file, "config": config, "changed": []}
            run(values, Path(folder))  # not refused: they are its own


TARGETS = [Target("configs", make, run, prepare, share=3.0, seconds=20)]
