"""CLIP: OpenAI's, open_clip's and transformers' names <-> ours (lesson 2.4).

open_clip kept OpenAI's names. What no shape tells: whether the activation is QuickGELU (OpenAI's weights) or the exact
GELU (most of open_clip's); the number of heads, 64 numbers wide in OpenAI's towers and up to 112 in open_clip's. Both
are read from the config beside the weights (`clip_configs.py`), or told; where nothing tells them, a warning says what
is assumed.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import clip_configs
from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import TOKENIZER_FILES, Entry, File
from checkpoints_convert.tables.rules import FLATTEN_KERNEL, STACK_ROWS, TRANSPOSE, Row, Table
from checkpoints_convert.tables.system import HEADS, Architecture, Check, Format, System, count_blocks
from minimodels.errors.untrusted import Settings, truth, whole, wholes
from minimodels.pixels.preprocess import TransformersPreprocess, preprocess_to_dict

SIZE = "a size as a number, read from the shapes instead"
SCALARS = ("input_resolution", "context_length", "vocab_size")


def openai_blocks(theirs: str, ours: str) -> list[Row]:
    """One tower's blocks: OpenAI's q, k and v are stacked as ours are."""
    rows: list[Row] = []
    for part in ("weight", "bias"):
        rows += [
            (f"{theirs}.{{i}}.ln_1.{part}", f"{ours}.{{i}}.norm1.{part}"),
            (f"{theirs}.{{i}}.attn.in_proj_{part}", f"{ours}.{{i}}.attn.qkv.{part}"),
            (f"{theirs}.{{i}}.attn.out_proj.{part}", f"{ours}.{{i}}.attn.out_proj.{part}"),
            (f"{theirs}.{{i}}.ln_2.{part}", f"{ours}.{{i}}.norm2.{part}"),
            (f"{theirs}.{{i}}.mlp.c_fc.{part}", f"{ours}.{{i}}.mlp.fc1.{part}"),
            (f"{theirs}.{{i}}.mlp.c_proj.{part}", f"{ours}.{{i}}.mlp.fc2.{part}"),
        ]
    return rows


def conv_norm(conv: str, norm: str, ours: str) -> list[Row]:
    """One convolution and its BatchNorm."""
    rows: list[Row] = [(f"{conv}.weight", f"{ours}.conv.weight")]
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return rows + [(f"{norm}.{part}", f"{ours}.norm.{part}") for part in parts]


def openai_resnet() -> list[Row]:
    """The ResNet tower. OpenAI counts from 1 (conv1, layer1), our lists from 0."""
    rows: list[Row] = []
    for number in range(3):
        rows += conv_norm(f"visual.conv{number + 1}", f"visual.bn{number + 1}", f"image_tower.stem.{number}")
    for stage in range(4):
        theirs, ours = f"visual.layer{stage + 1}.{{i}}", f"image_tower.stages.{stage}.{{i}}"
        for number in (1, 2, 3):
            rows += conv_norm(f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{ours}.conv{number}")
        rows += conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
    rows.append(("visual.attnpool.positional_embedding", "image_tower.attention_pool.pos"))
    for part in ("weight", "bias"):
        for theirs, ours in (("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj"), ("c_proj", "out_proj")):
            rows.append((f"visual.attnpool.{theirs}.{part}", f"image_tower.attention_pool.{ours}.{part}"))
    return rows


OPENAI: list[Row] = [
    ("logit_scale", "logit_scale"),
    ("visual.conv1.weight", "image_tower.patch_proj.weight", FLATTEN_KERNEL),
    ("visual.class_embedding", "image_tower.class_token"),
    ("visual.positional_embedding", "image_tower.pos"),
    ("visual.ln_pre.weight", "image_tower.norm_pre.weight"),
    ("visual.ln_pre.bias", "image_tower.norm_pre.bias"),
    *openai_blocks("visual.transformer.resblocks", "image_tower.blocks"),
    ("visual.ln_post.weight", "image_tower.norm_post.weight"),
    ("visual.ln_post.bias", "image_tower.norm_post.bias"),
    ("visual.proj", "image_tower.proj.weight", TRANSPOSE),
    ("token_embedding.weight", "text_tower.token_embedding.weight"),
    ("positional_embedding", "text_tower.pos"),
    *openai_blocks("transformer.resblocks", "text_tower.blocks"),
    ("ln_final.weight", "text_tower.norm.weight"),
    ("ln_final.bias", "text_tower.norm.bias"),
    ("text_projection", "text_tower.proj.weight", TRANSPOSE),
    *[(name, None, SIZE) for name in SCALARS],
]
# With a ResNet, `visual.conv1.weight` is the first convolution of the stem and not the patches.
OPENAI_RESNET: list[Row] = [row for row in OPENAI if not row[0].startswith("visual.")] + openai_resnet()


def transformers_rows() -> list[Row]:
    """transformers' CLIPModel: q, k and v apart, projections stored as linear layers, `pre_layrnorm` spelled so."""
    rows: list[Row] = [
        ("logit_scale", "logit_scale"),
        ("vision_model.embeddings.class_embedding", "image_tower.class_token"),
        ("vision_model.embeddings.patch_embedding.weight", "image_tower.patch_proj.weight", FLATTEN_KERNEL),
        ("vision_model.embeddings.position_embedding.weight", "image_tower.pos"),
        ("vision_model.embeddings.position_ids", None, "0, 1, 2 ... as a tensor, recomputed"),
        ("visual_projection.weight", "image_tower.proj.weight"),
        ("text_model.embeddings.token_embedding.weight", "text_tower.token_embedding.weight"),
        ("text_model.embeddings.position_embedding.weight", "text_tower.pos"),
        ("text_model.embeddings.position_ids", None, "0, 1, 2 ... as a tensor, recomputed"),
        ("text_projection.weight", "text_tower.proj.weight"),
    ]
    for part in ("weight", "bias"):
        rows += [
            (f"vision_model.pre_layrnorm.{part}", f"image_tower.norm_pre.{part}"),
            (f"vision_model.post_layernorm.{part}", f"image_tower.norm_post.{part}"),
            (f"text_model.final_layer_norm.{part}", f"text_tower.norm.{part}"),
        ]
        for theirs, ours in (("vision_model", "image_tower"), ("text_model", "text_tower")):
            layer, block = f"{theirs}.encoder.layers.{{i}}", f"{ours}.blocks.{{i}}"
            rows += [
                (f"{layer}.layer_norm1.{part}", f"{block}.norm1.{part}"),
                (f"{layer}.self_attn.{{q,k,v}}_proj.{part}", f"{block}.attn.qkv.{part}", STACK_ROWS),
                (f"{layer}.self_attn.out_proj.{part}", f"{block}.attn.out_proj.{part}"),
                (f"{layer}.layer_norm2.{part}", f"{block}.norm2.{part}"),
                (f"{layer}.mlp.fc1.{part}", f"{block}.mlp.fc1.{part}"),
                (f"{layer}.mlp.fc2.{part}", f"{block}.mlp.fc2.{part}"),
            ]
    return rows


def openai_class(arguments: Mapping[str, Any]) -> str:
    """One class for both towers."""
    return "clip.model.CLIP"


def open_clip_class(arguments: Mapping[str, Any]) -> str:
    """One class for both towers."""
    return "open_clip.model.CLIP"


# OpenAI's own code makes heads 64 wide whatever the width, and has QuickGELU alone.
OPENAI_RULE = {"quick_gelu": True, "head_width": 64}
FORMATS = {
    "openai": Format(Table(OPENAI), OPENAI_RULE, marks=SCALARS, takes=openai_class),
    "openai_resnet": Format(Table(OPENAI_RESNET), OPENAI_RULE, marks=SCALARS, takes=openai_class),
    "open_clip": Format(Table(OPENAI), takes=open_clip_class),
    "open_clip_resnet": Format(Table(OPENAI_RESNET), takes=open_clip_class),
    "transformers": Format(Table(transformers_rows()), takes=lambda _: "transformers.CLIPModel"),
}
# Heads of all released towers by their width: what is assumed, aloud, where nothing tells.
VISION_HEADS = {384: 6, 512: 8, 768: 12, 896: 14, 1024: 16, 1280: 16, 1408: 16, 1664: 16, 1792: 16}
RESNET_HEADS = {64: 32, 80: 40, 96: 48, 128: 64}
TEXT_HEADS = {256: 4, 384: 6, 512: 8, 640: 10, 768: 12, 1024: 16, 1280: 20}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads and activation as told, else as in the released models of these widths, said aloud.

    Raises:
        UserError: a told size that the shapes contradict; a width of no released tower, and no heads told.
    """
    resnet = "image_tower.attention_pool.pos" in tensors
    arguments = text_sizes(tensors) | (resnet_sizes(tensors) if resnet else vision_sizes(tensors))
    arguments |= not_in_shapes(arguments, told)
    check_sizes(arguments, told, SIZES)
    return "CLIPResNet" if resnet else "CLIP", arguments


def text_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The text tower's numbers."""
    return {
        "embed_dim": len(tensors["text_tower.proj.weight"]),
        "text_width": tensors["text_tower.pos"].shape[1],
        "text_depth": count_blocks(tensors, "text_tower.blocks."),
        "text_mlp_dim": len(tensors["text_tower.blocks.0.mlp.fc1.weight"]),
        "context_length": len(tensors["text_tower.pos"]),
        "vocab_size": len(tensors["text_tower.token_embedding.weight"]),
    }


def vision_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ViT tower's numbers; its position table is always square."""
    width, patch_numbers = tensors["image_tower.patch_proj.weight"].shape
    patch_size = round((patch_numbers / 3) ** 0.5)
    return {
        "image_size": round((len(tensors["image_tower.pos"]) - 1) ** 0.5) * patch_size,
        "patch_size": patch_size,
        "vision_width": width,
        "vision_depth": count_blocks(tensors, "image_tower.blocks."),
        "vision_mlp_dim": len(tensors["image_tower.blocks.0.mlp.fc1.weight"]),
    }


def resnet_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ResNet tower's numbers; the last feature map is 32 x `width` channels wide."""
    stages = count_blocks(tensors, "image_tower.stages.")
    return {
        "image_size": round((len(tensors["image_tower.attention_pool.pos"]) - 1) ** 0.5) * 32,
        "vision_width": len(tensors["image_tower.stem.2.conv.weight"]),
        "vision_depths": tuple(count_blocks(tensors, f"image_tower.stages.{stage}.") for stage in range(stages)),
    }


def not_in_shapes(sizes: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Heads and activation: told, by the rule of the format, or assumed aloud.

    Raises:
        UserError: heads of a width that no released tower has, and nobody tells them.
    """
    resnet = "vision_depths" in sizes
    towers = {
        "vision_heads": (sizes["vision_width"], RESNET_HEADS if resnet else VISION_HEADS, 32 if resnet else 1),
        "text_heads": (sizes["text_width"], TEXT_HEADS, 1),
    }
    known = {key: told[key] for key in ("vision_heads", "text_heads", "quick_gelu") if key in told}
    assumed: dict[str, Any] = {}
    for key, (width, released, factor) in towers.items():
        if key not in known and "head_width" in told:
            known[key] = width * factor // told["head_width"]
        elif key not in known:
            assumed[key] = heads_of(width, released, key)
    if "quick_gelu" not in known:
        assumed["quick_gelu"] = True
    if assumed:
        say_assumed(assumed, "QuickGELU (OpenAI's) is assumed, say quick_gelu=False for GELU (most of open_clip's)")
    return known | assumed


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json or open_clip's open_clip_config.json says.

    Raises:
        UserError: a value of a wrong type, or a model that is another one than ours.
    """
    if "model_cfg" in config or "preprocess_cfg" in config:
        return clip_configs.open_clip_told(config)
    if not any(key.startswith(("model_type", "vision_config", "text_config")) for key in config):
        return {}  # somebody else's
    config.expect("model_type", "clip", why="these weights have CLIP's names")
    return clip_configs.transformers_told(config)


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """Preprocessing and tokenizer, as the configs of the format's own library say beside the weights, else OpenAI's."""
    openclip = beside.inside("open_clip_config")
    if "preprocessor_config" in beside and not (openclip and format_name.startswith("open_clip")):
        config = beside.inside("preprocessor_config")
        about = preprocess_to_dict(TransformersPreprocess.from_config(config, usual="CLIP"))
    else:
        about = preprocess_to_dict(clip_configs.open_clip_preprocess(openclip, arguments["image_size"]))
    return {"preprocess": about, "tokenizer": clip_configs.tokenizer(arguments, format_name, beside)}


SIZES = (
    *("embed_dim", "image_size", "patch_size", "context_length", "vocab_size"),
    *("vision_width", "vision_depth", "vision_depths", "vision_mlp_dim"),
    *("text_width", "text_depth", "text_mlp_dim"),
)
TOLD: dict[str, Check] = {"vision_heads": HEADS, "text_heads": HEADS, "quick_gelu": truth}
TOLD |= {name: wholes if name == "vision_depths" else whole for name in SIZES}
SYSTEM = System("clip", FORMATS, architecture, TOLD, from_config, surroundings, own_config="open_clip_config")


# ---------------------------------------------------------------- the official checkpoints

OPENAI_LICENCE = "MIT, card: research use"  # the repository's licence, and what its model card asks for
LAION_SHA256 = "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"


def _openai(name: str, sha256: str, about: int, note: str) -> Entry:
    """One of the nine TorchScript archives of OpenAI's own loader, by the name it has there."""
    weights = File(name.replace("/", "-").replace("@", "-") + ".pt", None, sha256, about=about)
    form = "openai_resnet" if name.startswith("RN") else "openai"
    return Entry(name, "clip", form, OPENAI_LICENCE, (weights,), told={"quick_gelu": True}, note=note)


def _clip_repo(repo: str, revision: str, weights: File, note: str) -> Entry:
    """One of OpenAI's CLIPs in transformers' layout."""
    small = (File("config.json"), File("preprocessor_config.json"))
    return Entry(
        name=repo,
        system="clip",
        format="transformers",
        licence=OPENAI_LICENCE,
        files=(weights, *small, *(File(name, optional=True) for name in TOKENIZER_FILES)),
        repo=repo,
        revision=revision,
        told={"quick_gelu": True},
        note=note,
    )


ENTRIES: tuple[Entry, ...] = (
    _clip_repo(
        "openai/clip-vit-base-patch32",
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        File("pytorch_model.bin", 605247071, "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f"),
        "CLIP ViT-B/32, the usual first choice",
    ),
    _clip_repo(
        "openai/clip-vit-base-patch16",
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
        File("pytorch_model.bin", 598641023, "ec89c7b09c749a60aae3c9cd910516f24b58214a7df060b48962d14c469cfbf0"),
        "CLIP ViT-B/16",
    ),
    _clip_repo(
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        File("model.safetensors", 1710540580, "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),
        "CLIP ViT-L/14",
    ),
    _clip_repo(
        "openai/clip-vit-large-patch14-336",
        "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        File("pytorch_model.bin", 1711974081, "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801"),
        "CLIP ViT-L/14 at 336 pixels",
    ),
    Entry(
        name="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        system="clip",
        format="open_clip",
        licence="MIT",
        files=(File("open_clip_model.safetensors", 605143316, LAION_SHA256), File("open_clip_config.json")),
        repo="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
        told={"quick_gelu": False},
        note="open_clip's ViT-B/32, trained on LAION-2B",
    ),
    *(
        _openai(name, sha256, about, f"OpenAI's archive: {what}")
        for name, sha256, about, what in (
            ("RN50", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", 255262868, "ResNet-50"),
            ("RN101", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", 290938412, "ResNet-101"),
            ("RN50x4", "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", 421084404, "4 x RN50"),
            ("RN50x16", "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", 660098596, "16 x RN50"),
            ("RN50x64", "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", 1352041860, "64 x RN50"),
            ("ViT-B/32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 353436700, "ViT-B/32"),
            ("ViT-B/16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 350349340, "ViT-B/16"),
            ("ViT-L/14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 932051996, "ViT-L/14"),
            (
                "ViT-L/14@336px",
                "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
                933362716,
                "ViT-L/14 at 336 pixels",
            ),
        )
    ),
)
