"""SAM: the official repository's and transformers' names <-> ours (lesson 5.1).

Both keep q, k and v of the image encoder stacked and those of the decoder apart, as we do. What no shape tells:
which blocks see the whole picture is read off the lengths of their tables, the encoder's heads off their width; the
decoder's heads are 8 in all released models. The LayerNorm eps of the decoder's blocks is 1e-5 in the official code and
1e-6 in transformers, so that the same weights give slightly different masks there.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.assumed import check_sizes, heads_of
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import FIRST, FLATTEN_KERNEL, STACK_ROWS, Row, Table
from checkpoints_convert.tables.system import EPSILON, HEADS, Architecture, Check, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, whole, wholes
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_padded import MEAN_255, STD_255, PaddedPreprocess

PARTS = ("weight", "bias")
SECOND = "prompt_encoder.shared_embedding.positional_embedding"
TWICE = "the frequencies a second time: transformers names them in the prompt encoder and beside it"


def official_rows() -> list[Row]:
    """segment-anything's own names."""
    encoder, prompt, decoder = "image_encoder.", "prompt_encoder.", "mask_decoder."
    rows: list[Row] = [
        (f"{encoder}pos_embed", "image_encoder.pos", FIRST),
        (f"{encoder}patch_embed.proj.weight", "image_encoder.patch_proj.weight", FLATTEN_KERNEL),
        (f"{encoder}patch_embed.proj.bias", "image_encoder.patch_proj.bias"),
        (f"{prompt}pe_layer.positional_encoding_gaussian_matrix", "prompt_encoder.frequencies"),
        (f"{prompt}point_embeddings.{{0,1,2,3}}.weight", "prompt_encoder.label_embed", STACK_ROWS),
    ]
    names = {"norm1": "norm1", "qkv": "attn.qkv", "out": "attn.proj", "norm2": "norm2"}
    rows += encoder_rows(f"{encoder}blocks", names) + prompt_rows(prompt)
    for part in PARTS:
        rows += [(f"{encoder}neck.{{i}}.{part}", f"image_encoder.neck.{{i}}.{part}")]
        rows += [(f"{prompt}mask_downscaling.{{i}}.{part}", f"prompt_encoder.mask_conv.{{i}}.{part}")]
    block = {"norm": "norm", "token_to_image": "cross_attn_token_to_image", "final_norm": "norm_final_attn"}
    rows += decoder_rows(decoder, {**block, "image_to_token": "cross_attn_image_to_token"})
    for part in PARTS:
        rows += [(f"{decoder}output_upscaling.{{i}}.{part}", f"mask_decoder.upscale.{{i}}.{part}")]
        for theirs, ours in zip((0, 1, 2), (0, 2, 4)):
            hyper = f"{decoder}output_hypernetworks_mlps.{{i}}.layers.{theirs}.{part}"
            rows.append((hyper, f"mask_decoder.mask_mlps.{{i}}.{ours}.{part}"))
            rows.append((f"{decoder}iou_prediction_head.layers.{theirs}.{part}", f"mask_decoder.iou_mlp.{ours}.{part}"))
    return rows


def transformers_rows() -> list[Row]:
    """transformers' SamModel."""
    encoder, prompt, decoder = "vision_encoder.", "prompt_encoder.", "mask_decoder."
    rows: list[Row] = [
        (f"{encoder}pos_embed", "image_encoder.pos", FIRST),
        (f"{encoder}patch_embed.projection.weight", "image_encoder.patch_proj.weight", FLATTEN_KERNEL),
        (f"{encoder}patch_embed.projection.bias", "image_encoder.patch_proj.bias"),
        ("shared_image_embedding.positional_embedding", "prompt_encoder.frequencies"),
        (SECOND, None, TWICE),
        (f"{prompt}point_embed.{{0,1,2,3}}.weight", "prompt_encoder.label_embed", STACK_ROWS),
    ]
    names = {"norm1": "layer_norm1", "qkv": "attn.qkv", "out": "attn.proj", "norm2": "layer_norm2"}
    rows += encoder_rows(f"{encoder}layers", names) + prompt_rows(prompt)
    inside = {
        f"{encoder}neck.": ("image_encoder.neck", {0: "conv1", 1: "layer_norm1", 2: "conv2", 3: "layer_norm2"}),
        f"{prompt}mask_embed.": (
            "prompt_encoder.mask_conv",
            {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"},
        ),
        decoder: ("mask_decoder.upscale", {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"}),
        f"{decoder}output_hypernetworks_mlps.{{i}}.": (
            "mask_decoder.mask_mlps.{i}",
            {0: "proj_in", 2: "layers.0", 4: "proj_out"},
        ),
        f"{decoder}iou_prediction_head.": ("mask_decoder.iou_mlp", {0: "proj_in", 2: "layers.0", 4: "proj_out"}),
    }
    for theirs, (ours, layers) in inside.items():
        rows += [
            (f"{theirs}{name}.{part}", f"{ours}.{place}.{part}") for place, name in layers.items() for part in PARTS
        ]
    block = {"norm": "layer_norm", "token_to_image": "cross_attn_token_to_image", "final_norm": "layer_norm_final_attn"}
    block |= {"image_to_token": "cross_attn_image_to_token", "final_attn": "final_attn_token_to_image"}
    return rows + decoder_rows(decoder, block)


def encoder_rows(theirs: str, names: Mapping[str, str]) -> list[Row]:
    """The blocks of the image encoder."""
    block, ours = f"{theirs}.{{i}}.", "image_encoder.blocks.{i}."
    rows: list[Row] = [(f"{block}attn.rel_pos_{axis}", f"{ours}attn.rel_{axis}") for axis in "hw"]
    for part in PARTS:
        rows += [
            (f"{block}{names['norm1']}.{part}", f"{ours}norm1.{part}"),
            (f"{block}{names['qkv']}.{part}", f"{ours}attn.qkv.{part}"),
            (f"{block}{names['out']}.{part}", f"{ours}attn.out_proj.{part}"),
            (f"{block}{names['norm2']}.{part}", f"{ours}norm2.{part}"),
            (f"{block}mlp.lin1.{part}", f"{ours}mlp.fc1.{part}"),
            (f"{block}mlp.lin2.{part}", f"{ours}mlp.fc2.{part}"),
        ]
    return rows


def prompt_rows(theirs: str) -> list[Row]:
    """The single vectors of the prompt encoder: tables of one row there."""
    return [
        (f"{theirs}not_a_point_embed.weight", "prompt_encoder.padding_embed", FIRST),
        (f"{theirs}no_mask_embed.weight", "prompt_encoder.no_mask_embed", FIRST),
    ]


def decoder_rows(theirs: str, names: Mapping[str, str]) -> list[Row]:
    """The two-way transformer and its own tokens."""
    rows: list[Row] = [
        (f"{theirs}iou_token.weight", "mask_decoder.iou_token", FIRST),
        (f"{theirs}mask_tokens.weight", "mask_decoder.mask_tokens"),
    ]
    block, ours = f"{theirs}transformer.layers.{{i}}.", "mask_decoder.blocks.{i}."
    final = f"{theirs}transformer.final_attn_token_to_image."
    for part in PARTS:
        for proj in ("q_proj", "k_proj", "v_proj", "out_proj"):
            rows.append((f"{block}self_attn.{proj}.{part}", f"{ours}self_attn.{proj}.{part}"))
            for way in ("token_to_image", "image_to_token"):
                rows.append((f"{block}{names[way]}.{proj}.{part}", f"{ours}{way}.{proj}.{part}"))
            rows.append((f"{final}{proj}.{part}", f"mask_decoder.final_attn.{proj}.{part}"))
        for number in (1, 2, 3, 4):
            rows.append((f"{block}{names['norm']}{number}.{part}", f"{ours}norm{number}.{part}"))
        rows += [
            (f"{block}mlp.lin1.{part}", f"{ours}mlp.fc1.{part}"),
            (f"{block}mlp.lin2.{part}", f"{ours}mlp.fc2.{part}"),
            (f"{theirs}transformer.{names['final_norm']}.{part}", f"mask_decoder.final_norm.{part}"),
        ]
    return rows


def twice(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The frequencies under their second name."""
    return {SECOND: tensors["shared_image_embedding.positional_embedding"].clone()}


OFFICIAL_TOLD, TRANSFORMERS_TOLD = {"decoder_eps": 1e-5}, {"decoder_eps": 1e-6}
FORMATS = {
    "official": Format(Table(official_rows()), OFFICIAL_TOLD, takes=lambda _: "segment_anything.modeling.Sam"),
    "transformers": Format(
        Table(transformers_rows()), TRANSFORMERS_TOLD, computed=twice, takes=lambda _: "transformers.SamModel"
    ),
}
DECODER_HEADS = {256: 8}  # by prompt_dim: both libraries have no other without being told


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes. A block whose table has a row for each offset of the whole grid sees the whole picture.

    Raises:
        UserError: blocks with windows of several sizes, which no released model has.
    """
    grid, _, embed_dim = tensors["image_encoder.pos"].shape
    patch_size = round((tensors["image_encoder.patch_proj.weight"].shape[1] / 3) ** 0.5)
    depth = count_blocks(tensors, "image_encoder.blocks.")
    tables = [tensors[f"image_encoder.blocks.{layer}.attn.rel_h"].shape for layer in range(depth)]
    sides = [(rows + 1) // 2 for rows, _ in tables]
    windows = {side for side in sides if side != grid}
    if len(windows) > 1:
        raise UserError(f"blocks with windows of {sorted(windows)} tokens a side: expected one size beside the grid")
    prompt_dim = tensors["mask_decoder.mask_tokens"].shape[1]
    arguments = {
        "image_size": grid * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": embed_dim // tables[0][1],
        "mlp_dim": len(tensors["image_encoder.blocks.0.mlp.fc1.weight"]),
        "window_size": max(windows, default=grid),
        "global_blocks": tuple(layer for layer, side in enumerate(sides) if side == grid),
        "prompt_dim": prompt_dim,
        "mask_channels": len(tensors["prompt_encoder.mask_conv.3.weight"]),
        "decoder_depth": count_blocks(tensors, "mask_decoder.blocks."),
        "decoder_heads": told.get("decoder_heads") or heads_of(prompt_dim, DECODER_HEADS, "decoder_heads"),
        "decoder_mlp_dim": len(tensors["mask_decoder.blocks.0.mlp.fc1.weight"]),
        "decoder_eps": told["decoder_eps"],
        "num_masks": len(tensors["mask_decoder.mask_tokens"]) - 1,
        "iou_dim": len(tensors["mask_decoder.iou_mlp.0.weight"]),
    }
    whole_picture = not windows and told.get("window_size", 0) in (0, grid)  # then every block sees it, named or not
    untold = {"window_size", "global_blocks"} if whole_picture else set() if windows else {"window_size"}
    check_sizes(arguments, told, (size for size in SIZES if size not in untold))
    return "SAM", arguments


# What config.json of transformers can say and our SAM has at one value only, by the part of the model.
ONLY: dict[str, dict[str, Any]] = {
    "vision_config": {
        **{"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_channels": 3},
        **{"qkv_bias": True, "use_abs_pos": True, "use_rel_pos": True},
    },
    "prompt_encoder_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_point_embeddings": 4},
    "mask_decoder_config": {"hidden_act": "relu", "attention_downsample_rate": 2, "iou_head_depth": 3},
}


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json says.

    Raises:
        UserError: a value of a wrong type, or one that our SAM does not have; parts that contradict each other.
    """
    if not config.keys() & {"model_type", *ONLY}:
        return {}  # somebody else's
    config.expect("model_type", "sam", why="these weights have SAM's names")
    vision, prompt, decoder = (config.inside(part) for part in ONLY)
    for part, only in zip((vision, prompt, decoder), ONLY.values()):
        for key, value in only.items():
            part.expect(key, value, why="our SAM has no other, as all released ones")
    told = {"embed_dim": vision.whole("hidden_size", 768), "prompt_dim": vision.whole("output_channels", 256)}
    told |= {key: vision.whole(key, usual) for key, usual in (("image_size", 1024), ("patch_size", 16))}
    for part, pairs in (
        (prompt, {"hidden_size": "prompt_dim", "image_size": "image_size", "patch_size": "patch_size"}),
        (decoder, {"hidden_size": "prompt_dim"}),
    ):
        for key, ours in pairs.items():
            usual = {"prompt_dim": 256, "image_size": 1024, "patch_size": 16}[ours]
            if part.whole(key, usual) != told[ours]:
                raise UserError(f"{key} in {part.where} is {part.whole(key, usual)}, {vision.where} says {told[ours]}")
    ratio = vision.number("mlp_ratio", 4.0, above=0, most=1024)
    return {
        **told,
        "depth": vision.whole("num_hidden_layers", 12),
        "num_heads": vision.whole("num_attention_heads", 12),
        "mlp_dim": vision.whole("mlp_dim", int(told["embed_dim"] * ratio)),
        "window_size": vision.whole("window_size", 14, least=0),
        "global_blocks": vision.wholes("global_attn_indexes", (2, 5, 8, 11), least=0),
        "mask_channels": prompt.whole("mask_input_channels", 16),
        "decoder_depth": decoder.whole("num_hidden_layers", 2),
        "decoder_heads": decoder.whole("num_attention_heads", 8),
        "decoder_mlp_dim": decoder.whole("mlp_dim", 2048),
        "decoder_eps": decoder.number("layer_norm_eps", 1e-6, above=0, most=1),
        "num_masks": decoder.whole("num_multimask_outputs", 3),
        "iou_dim": decoder.whole("iou_head_hidden_dim", 256),
    }


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The predictor's own preprocessing; transformers' differs from it in the last bits of float32 alone.

    Raises:
        UserError: preprocessor_config.json asks for another one.
    """
    config, size = beside.inside("preprocessor_config"), arguments["image_size"]
    for key in ("do_resize", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb"):
        if key in config.nulls:
            raise UserError(f"{key} in {config.where} is null, expected true: as SAM's pictures are prepared")
        config.expect(key, True, why="as SAM's pictures are prepared")
    config.expect("resample", 2, why="SAM's pictures are resized bilinear")
    config.expect("rescale_factor", 1 / 255, why="SAM's levels are 0-255, divided by 255")
    config.expect("size", {"longest_edge": size}, why="this SAM's longest side")
    config.expect("pad_size", {"height": size, "width": size}, why="this SAM's square")
    numbers = {}
    for key, usual in (("image_mean", MEAN_255), ("image_std", STD_255)):
        found = config.numbers(key, None, count=3)
        numbers[key] = usual if found is None else tuple(255 * number for number in found)
    return {"preprocess": preprocess_to_dict(PaddedPreprocess(size, numbers["image_mean"], numbers["image_std"]))}


SIZES = (
    *("image_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_dim", "window_size", "global_blocks"),
    *("prompt_dim", "mask_channels", "decoder_depth", "decoder_mlp_dim", "num_masks", "iou_dim"),
)
TOLD: dict[str, Check] = {"decoder_heads": HEADS, "decoder_eps": EPSILON, **dict.fromkeys(SIZES, whole)}
TOLD |= {"global_blocks": partial(wholes, least=0), "window_size": partial(whole, least=0)}
SYSTEM = System("sam", FORMATS, architecture, TOLD, from_config, surroundings)


# ---------------------------------------------------------------- the official checkpoints

SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything"


def _sam(size: str, mark: str, weight: int, sha256: str, about: int) -> list[Entry]:
    """One size of SAM: Meta's own file and transformers' layout."""
    shared: dict[str, Any] = {"system": "sam", "licence": "Apache-2.0"}
    letter, note = size[0], f"SAM ViT-{size[0].upper()}"
    file = f"sam_vit_{letter}_{mark}.pth"
    official = File(file, weight, sha256, about=about)
    repo, beside = f"facebook/sam-vit-{size}", (File("config.json"), File("preprocessor_config.json"))
    files = (File("model.safetensors", about=about), *beside)
    url = f"{SAM_FILES}/{file}"
    return [
        Entry(f"sam_vit_{letter}", format="official", files=(official,), note=note, url=url, **shared),
        Entry(repo, format="transformers", files=files, repo=repo, note=note, **shared),
    ]


ENTRIES: tuple[Entry, ...] = (
    *_sam(
        "base",
        "01ec64",
        375042383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        374942912,
    ),
    *_sam(
        "large",
        "0b3195",
        1249524607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1249372352,
    ),
    *_sam(
        "huge",
        "4b8939",
        2564550879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2564363456,
    ),
)
