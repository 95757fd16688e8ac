"""open_clip's part of the sweep: every CLIP configuration that it has."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip.push_to_hf_hub import save_for_hf
from safetensors.torch import save_file
from torch import Tensor, nn

from checkpoints_convert.load import load
from checkpoints_convert.proof.verify import redraw_all
from tests.sweep import Outcome, judge

LIBRARIES = ("open_clip_torch", "torch")
NAMES: list[str] = open_clip.list_models()
NO_TOKENIZER = SimpleNamespace(save_pretrained=lambda folder: None)  # the library's are not on this machine
OTHERS = (
    "timm_model_name",
    "hf_model_name",
)  # a tower of another library: not built, some are larger than this machine
VOCABULARY = 50


def attempt(name: str, folder: Path) -> Outcome:
    """open_clip's model saved as it is pushed to the hub; ours from that folder; both see the same pictures and ids."""
    config = shrunk(name)
    if any(key in config[tower] for key in OTHERS for tower in ("vision_cfg", "text_cfg")):
        write_config_alone(config, folder)
        return judge(name, group(name), {}, lambda: {"answer": load(folder)})
    theirs = build(name, config)
    save_for_hf(theirs, NO_TOKENIZER, config, str(folder), safe_serialization=True)
    image, ids = pictures(config), texts(config)
    with torch.inference_mode():
        expected = answers(theirs.double(), image, ids)
        return judge(name, group(name), expected, lambda: answers(load(folder, dtype=torch.float64), image, ids))


def answers(model: Any, image: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Both embeddings, and the scale of their cosine."""
    scale = model.logit_scale.exp()
    return {"image": model.encode_image(image), "text": model.encode_text(ids), "scale": scale}


def group(name: str) -> str:
    """By what stands in its image tower."""
    vision = open_clip.get_model_config(name)["vision_cfg"]
    timm_tower, resnet = "timm_model_name" in vision, isinstance(vision.get("layers"), list)
    return f"open_clip, {'image towers of timm' if timm_tower else 'ResNets' if resnet else 'ViTs'}"


def shrunk(name: str) -> dict[str, Any]:
    """The library's config with two blocks a tower (a wide one with one), few patches and few words."""
    config = copy.deepcopy(open_clip.get_model_config(name))
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not any(key in tower for key in OTHERS for tower in (vision, text)):
        resnet = isinstance(vision["layers"], list)
        vision["layers"] = [1, 2, 1, 1] if resnet else 2 if vision["width"] <= 768 else 1
        vision["image_size"] = 64 if resnet else 3 * vision["patch_size"]
        text["layers"], text["vocab_size"] = 2 if text["width"] <= 512 else 1, VOCABULARY
        if "multimodal_cfg" in config:
            config["multimodal_cfg"] |= {"layers": 1, "vocab_size": VOCABULARY}
    return config


def build(name: str, config: dict[str, Any]) -> nn.Module:
    """The library's model of a config, its parameters redrawn."""
    changes = {key: value for key, value in copy.deepcopy(config).items() if key != "custom_text"}
    return redraw_all(open_clip.create_model(name, load_weights=False, pretrained_text=False, **changes)).eval()


def write_config_alone(config: dict[str, Any], folder: Path) -> None:
    """A folder with the config and a tensor or two of either tower: what the towers would be, the config says."""
    folder.joinpath("open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    timm_tower, hf_tower = "timm_model_name" in config["vision_cfg"], "hf_model_name" in config["text_cfg"]
    vision = "visual.trunk.{}" if timm_tower else "visual.{}"
    text = "text.transformer.embeddings.{}" if hf_tower else "text.{}" if config.get("custom_text") else "{}"
    towers = (vision, ("norm.weight", "norm.bias") if timm_tower else ("ln_pre.weight", "ln_pre.bias"))
    words = (text, ("word_embeddings.weight",) if hf_tower else ("token_embedding.weight", "ln_final.weight"))
    names = ["logit_scale", *(place.format(name) for place, inside in (towers, words) for name in inside)]
    tensors = {name: torch.zeros(1) for name in names}
    save_file(tensors, folder / "open_clip_model.safetensors")


def pictures(config: dict[str, Any]) -> Tensor:
    """Noise of the size that the model reads."""
    side = config["vision_cfg"]["image_size"]
    return torch.randn(2, 3, side, side, dtype=torch.float64)


def texts(config: dict[str, Any]) -> Tensor:
    """Ids with the end of text at several places, the first of two counts."""
    context = config["text_cfg"].get("context_length", 77)
    ids = torch.randint(1, VOCABULARY - 1, (3, context))
    ids[0, -1] = ids[1, context // 2] = ids[1, context // 2 + 2] = ids[2, 1] = VOCABULARY - 1
    return ids
