"""What is measured of CLIP: its towers, and the way from a file on disk to the first answer."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from minimodels.clip import trim
from minimodels.stored import models
from tests.benchmarks.inputs import captions, filled, picture
from tests.benchmarks.measure import Run, Work

B32 = {"embed_dim": 512, "patch_size": 32, "vision_width": 768, "vision_depth": 12, "vision_heads": 12}
B16 = {**B32, "patch_size": 16}
L14 = {
    "embed_dim": 768, "patch_size": 14, "vision_width": 1024, "vision_depth": 24, "vision_heads": 16,
    "text_width": 768, "text_heads": 12,
}  # fmt: skip


def clip_builders(name: str, numbers: dict, image: Tensor | None, ids: Tensor | None) -> dict:
    """Ours, open_clip's and transformers' image or text tower of one released size."""

    def ours() -> Run:
        model = filled(models.build("CLIP", numbers))
        return (lambda: model.encode_image(image)) if image is not None else (lambda: model.encode_text(trim(ids)))

    def open_clip() -> Run:
        import open_clip

        model = open_clip.create_model(name, force_quick_gelu=True).eval()
        return (lambda: model.encode_image(image)) if image is not None else (lambda: model.encode_text(ids))

    def transformers() -> Run:
        model = transformers_clip(numbers)
        if image is not None:
            return lambda: model.get_image_features(pixel_values=image)
        return lambda: model.get_text_features(input_ids=ids)

    return {"ours": ours, "open_clip": open_clip, "transformers": transformers}


def transformers_clip(numbers: dict) -> torch.nn.Module:
    """transformers' CLIPModel with the numbers of ours."""
    from transformers import CLIPConfig, CLIPModel

    text_width, text_heads = numbers.get("text_width", 512), numbers.get("text_heads", 8)
    vision = {
        "hidden_size": numbers["vision_width"], "num_hidden_layers": numbers["vision_depth"],
        "num_attention_heads": numbers["vision_heads"], "intermediate_size": 4 * numbers["vision_width"],
        "patch_size": numbers["patch_size"],
    }  # fmt: skip
    text = {"hidden_size": text_width, "num_attention_heads": text_heads, "intermediate_size": 4 * text_width}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=numbers["embed_dim"])
    config._attn_implementation = "sdpa"
    return CLIPModel(config).eval()


def from_disk() -> dict:
    """CLIP ViT-L/14 from a file on disk to the logits of one picture and three captions, three ways.

    The checkpoint is written once, as transformers writes it (.safetensors and .bin), and is warm in the page cache for
    all three.
    """
    folder = Path(tempfile.gettempdir()) / "pixels-and-prompts-bench-clip-l14"
    image, ids = picture(224), captions(3)

    def ours() -> Run:
        write_checkpoint(folder)
        from checkpoints_convert import load

        return lambda: load(folder)(image, trim(ids))

    def from_pretrained() -> Run:
        write_checkpoint(folder)
        from transformers import CLIPModel

        return lambda: CLIPModel.from_pretrained(folder).eval()(pixel_values=image, input_ids=ids).logits_per_image

    return {"ours": ours, "transformers from_pretrained": from_pretrained}


def from_disk_torch_load() -> dict:
    """The same beside the textbook way: build the model, torch.load, load_state_dict."""
    folder = Path(tempfile.gettempdir()) / "pixels-and-prompts-bench-clip-l14"
    image, ids = picture(224), captions(3)

    def plain() -> Run:
        write_checkpoint(folder)

        def run() -> object:
            model = transformers_clip(L14)
            model.load_state_dict(torch.load(folder / "plain" / "pytorch_model.bin", weights_only=True))
            return model(pixel_values=image, input_ids=ids).logits_per_image

        return run

    return {"ours": from_disk()["ours"], "torch.load + load_state_dict": plain}


def write_checkpoint(folder: Path) -> None:
    """A CLIP ViT-L/14 checkpoint of random numbers, once."""
    if (folder / "plain" / "pytorch_model.bin").exists():
        return
    model = transformers_clip(L14)
    model.save_pretrained(folder)
    (folder / "plain").mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "plain" / "pytorch_model.bin")


PADDED = (
    "Text towers: every library gets the same (T, 77) ids, as the official tokenizer makes them; ours trims them "
    "to the longest caption first (`clip.trim`), which is part of its time."
)
WORKS = [
    Work(
        "CLIP ViT-B/32 image tower, one picture",
        clip_builders("ViT-B-32", B32, picture(224), None),
        bar=1.05,
        rounds=25,
    ),
    Work(
        "CLIP ViT-B/16 image tower, one picture",
        clip_builders("ViT-B-16", B16, picture(224), None),
        bar=1.05,
        rounds=15,
    ),
    Work("CLIP ViT-L/14 image tower, one picture", clip_builders("ViT-L-14", L14, picture(224), None), bar=1.05),
    Work(
        "CLIP ViT-B/32 text tower, 1 caption",
        clip_builders("ViT-B-32", B32, None, captions(1)),
        bar=0.35,
        rounds=15,
        note=PADDED,
    ),
    Work(
        "CLIP ViT-B/32 text tower, 32 captions",
        clip_builders("ViT-B-32", B32, None, captions(32)),
        bar=0.35,
        rounds=5,
        note=PADDED,
    ),
    Work(
        "CLIP ViT-L/14 text tower, 1 caption", clip_builders("ViT-L-14", L14, None, captions(1)), bar=0.35, note=PADDED
    ),
    Work("CLIP ViT-L/14 from disk to the first answer", from_disk(), bar=1.05, memory_bar=None, rounds=5),
    Work("CLIP ViT-L/14 from disk, the textbook way", from_disk_torch_load(), bar=0.4, memory_bar=None, rounds=3),
]
