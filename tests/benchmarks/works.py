"""What is measured: our model and the references at the official sizes, with random weights (speed does not see them).

Every builder imports its own library, so that the memory of one is not counted for another.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from minimodels.stored import models
from tests.benchmarks import matching
from tests.benchmarks.measure import Run, Work

B32 = {"embed_dim": 512, "patch_size": 32, "vision_width": 768, "vision_depth": 12, "vision_heads": 12}
B16 = {**B32, "patch_size": 16}
L14 = {
    "embed_dim": 768, "patch_size": 14, "vision_width": 1024, "vision_depth": 24, "vision_heads": 16,
    "text_width": 768, "text_heads": 12,
}  # fmt: skip
CAPTIONS = [
    "a photo of a cat",
    "a dog running along the beach with a red ball in its mouth",
    "two people ride bicycles down a narrow street in an old town",
    "a plate of food on a wooden table next to a glass of water",
]


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """An empty (meta) model with memory and small random weights."""
    model = model.to_empty(device="cpu").eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(std=0.02)
    return model


def picture(size: int, batch: int = 1) -> Tensor:
    """Random pictures."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def captions(count: int) -> Tensor:
    """Ordinary captions as CLIP's ids, (count, 77)."""
    from minimodels.words.byte_pair import BytePairTokenizer

    return BytePairTokenizer.clip()([CAPTIONS[number % len(CAPTIONS)] for number in range(count)])


def ours_vit() -> Run:
    model, image = filled(models.build("ViT", {})), picture(224)
    return lambda: model(image)


def timm_vit() -> Run:
    import timm

    model, image = timm.create_model("vit_base_patch16_224").eval(), picture(224)
    return lambda: model(image)


def transformers_vit() -> Run:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(num_labels=1000, attn_implementation="sdpa")).eval()
    image = picture(224)
    return lambda: model(image).logits


def clip_builders(name: str, numbers: dict, image: Tensor | None, ids: Tensor | None) -> dict:
    """Ours, open_clip's and transformers' image or text tower of one released size."""

    def ours() -> Run:
        model = filled(models.build("CLIP", numbers))
        return (lambda: model.encode_image(image)) if image is not None else (lambda: model.encode_text(ids))

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

        return lambda: load(folder)(image, ids)

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


def clipseg_builders(prompts: int) -> dict:
    """CLIPSeg rd64 at 352 pixels, from one picture and so many texts to mask logits: ours encodes the picture once,
    transformers takes a copy of it a text."""
    image, ids = picture(352), captions(prompts)

    def ours() -> Run:
        model = filled(models.build("CLIPSeg", {**B16, "image_size": 224}))
        return lambda: model(image, model.encode_text(ids)[None])

    def transformers() -> Run:
        from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

        vision = {"patch_size": 16, "image_size": 224}
        config = CLIPSegConfig(vision_config=vision, use_complex_transposed_convolution=False)
        config._attn_implementation = "sdpa"
        model, copies = CLIPSegForImageSegmentation(config).eval(), image.expand(prompts, -1, -1, -1)
        return lambda: model(input_ids=ids, pixel_values=copies, interpolate_pos_encoding=True).logits

    return {"ours": ours, "transformers": transformers}


def dinov2_builders() -> dict:
    """DINOv2 ViT-L/14 at 518 pixels, the size it was trained at: 1,370 tokens."""
    image = picture(518)

    def ours() -> Run:
        model = filled(models.build("DINOv2", {}))
        return lambda: model(image)

    def timm() -> Run:
        import timm

        model = timm.create_model("vit_large_patch14_dinov2").eval()
        return lambda: model(image)

    def transformers() -> Run:
        from transformers import Dinov2Config, Dinov2Model

        numbers = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 518}
        model = Dinov2Model(Dinov2Config(attn_implementation="sdpa", **numbers)).eval()
        return lambda: model(image).pooler_output

    return {"ours": ours, "timm": timm, "transformers": transformers}


def sam_builders() -> dict:
    """SAM ViT-B's image encoder at its 1,024 pixels: 4,096 tokens, windows of 14 and four global blocks."""
    image = picture(1024)

    def ours() -> Run:
        model = filled(models.build("SAM", {}))
        return lambda: model.encode(image)

    def timm() -> Run:
        import timm

        model = timm.create_model("samvit_base_patch16", num_classes=0).eval()
        return lambda: model.forward_features(image)

    def transformers() -> Run:
        from transformers import SamVisionConfig, SamVisionModel

        model = SamVisionModel(SamVisionConfig(attn_implementation="sdpa")).eval()
        return lambda: model(image).last_hidden_state

    return {"ours": ours, "timm": timm, "transformers": transformers}


SWIN_B = {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)}


def ours_swin() -> Run:
    from minimodels.swin import Swin

    model, image = Swin(**SWIN_B).eval(), picture(224)  # not `filled`: the index of its bias tables is no weight
    return lambda: model(image)


def timm_swin() -> Run:
    import timm

    model, image = timm.create_model("swin_base_patch4_window7_224").eval(), picture(224)
    return lambda: model(image)


def transformers_swin() -> Run:
    from transformers import SwinConfig, SwinForImageClassification

    model = SwinForImageClassification(SwinConfig(**SWIN_B, num_labels=1000, attn_implementation="sdpa")).eval()
    image = picture(224)
    return lambda: model(image).logits


def bert_builders(texts: int) -> dict:
    """BERT-base on texts of at most 24 tokens, padded to the longest, to the last hidden states."""
    ids = torch.randint(1, 30522, (texts, 24), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row in range(texts):
        mask[row, 24 - row % 8 * 2 :] = 0
    ids = ids * mask

    def ours() -> Run:
        model = filled(models.build("BERT", {}))
        return lambda: model(ids, mask)

    def transformers() -> Run:
        from transformers import BertConfig, BertModel

        config = BertConfig(attn_implementation="sdpa")
        model = BertModel(config, add_pooling_layer=False).eval()
        return lambda: model(input_ids=ids, attention_mask=mask).last_hidden_state

    return {"ours": ours, "transformers": transformers}


def write_checkpoint(folder: Path) -> None:
    """A CLIP ViT-L/14 checkpoint of random numbers, once."""
    if (folder / "plain" / "pytorch_model.bin").exists():
        return
    model = transformers_clip(L14)
    model.save_pretrained(folder)
    (folder / "plain").mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "plain" / "pytorch_model.bin")


PADDED = (
    "Text towers: every library gets the same (T, 77) ids, as the official tokenizer makes them; ours stops at the "
    "longest caption. For one caption alone (7 tokens) `blocks.Linear` cuts its products, because torch's copies a "
    "whole weight matrix for 7 rows as it does for 77."
)
WORKS = [
    Work(
        "ViT-B/16 224 px, one picture",
        {"ours": ours_vit, "timm": timm_vit, "transformers": transformers_vit},
        bar=1.05,
        rounds=15,
    ),
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
    Work("CLIPSeg rd64 352 px, one prompt", clipseg_builders(1), bar=0.85),
    Work("CLIPSeg rd64 352 px, ten prompts on one picture", clipseg_builders(10), bar=0.25, rounds=3),
    Work(
        "Swin-B 224 px, one picture",
        {"ours": ours_swin, "timm": timm_swin, "transformers": transformers_swin},
        bar=1.05,
        rounds=15,
    ),
    Work("DINOv2 ViT-L/14 518 px, one picture", dinov2_builders(), bar=1.05, rounds=3),
    Work("SAM ViT-B image encoder 1024 px, one picture", sam_builders(), bar=1.05, rounds=3),
    Work("BERT-base, one sentence of 24 tokens", bert_builders(1), bar=1.05, rounds=25),
    Work("BERT-base, 32 sentences, padded", bert_builders(32), bar=1.05, rounds=5),
    Work("CLIP ViT-L/14 from disk to the first answer", from_disk(), bar=1.05, memory_bar=None, rounds=5),
    Work("CLIP ViT-L/14 from disk, the textbook way", from_disk_torch_load(), bar=0.4, memory_bar=None, rounds=3),
    Work(
        "Matcher: matching and scoring, 37 x 37 patches",
        {"ours": matching.ours, "numpy, scipy and POT": matching.plain},
        bar=1.05,
        memory_bar=None,
        note="100 proposals; the reference is a plain version of the same steps, in tests/benchmarks/matching.py.",
    ),
]
