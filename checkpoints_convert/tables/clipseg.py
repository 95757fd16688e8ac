"""CLIPSeg: the official repository's and transformers' names <-> ours (lesson 4.1).

The official files (rd64-uni.pth ...) hold the decoder alone: `build(decoder, "clipseg", clip=clip_tensors)`. `join`
puts the CLIP beside it under the names that the official model's full state dict has, `clip_model.` before OpenAI's
own; `split` is the inverse. What no shape tells: which blocks of the tower are read (3, 6 and 9, counted from 0, in all
released files), the decoder's heads (4), and what no shape of CLIP tells.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import clip, clip_configs
from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import TOKENIZER_FILES, Entry, File
from checkpoints_convert.tables.rules import STACK_ROWS, Row, Table
from checkpoints_convert.tables.system import (
    HEADS,
    Architecture,
    Check,
    Format,
    System,
    count_blocks,
    detect,
    unwrapped,
)
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, shown, truth, whole, wholes
from minimodels.pixels.preprocess import TransformersPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD, TensorPreprocess

CLIP_PREFIX = "clip_model."
UNUSED = "a layer of another model of the official repository, saved too; no answer passes it"
TWICE = "CLIP's image tower a second time: the official class names it `model` and `clip_model.visual`"


def prefixed(rows: list[Row], theirs: str, ours: str) -> list[Row]:
    """The same rows for a model that is part of another one."""
    out: list[Row] = []
    for row in rows:
        if row[1] is None:
            out.append((theirs + row[0], None, row[2]))
        elif len(row) == 3:
            out.append((theirs + row[0], ours + row[1], row[2]))
        else:
            out.append((theirs + row[0], ours + row[1]))
    return out


def head_rows(theirs: str) -> list[Row]:
    """The plain head is one layer; of the refined one's five, every other has weights."""
    heads = ("", ".0", ".2", ".4")
    return [
        (f"{theirs}{layer}.{part}", f"decoder.head{layer}.{part}") for layer in heads for part in ("weight", "bias")
    ]


def official_rows() -> list[Row]:
    """The official decoder (PyTorch's own TransformerEncoderLayer) and CLIP under `clip_model.`."""
    tower = [row[0].removeprefix("visual.") for row in clip.OPENAI if row[0].startswith("visual.")]
    rows: list[Row] = [(f"model.{name}", None, TWICE) for name in tower]
    rows += prefixed(clip.OPENAI, CLIP_PREFIX, "clip.") + head_rows("trans_conv")
    for part in ("weight", "bias"):
        rows += [
            (f"reduce.{part}", None, UNUSED),
            (f"film_mul.{part}", f"decoder.film_mul.{part}"),
            (f"film_add.{part}", f"decoder.film_add.{part}"),
            (f"reduces.{{i}}.{part}", f"decoder.reduces.{{i}}.{part}"),
            (f"blocks.{{i}}.norm1.{part}", f"decoder.blocks.{{i}}.norm1.{part}"),
            (f"blocks.{{i}}.self_attn.in_proj_{part}", f"decoder.blocks.{{i}}.attn.qkv.{part}"),
            (f"blocks.{{i}}.self_attn.out_proj.{part}", f"decoder.blocks.{{i}}.attn.out_proj.{part}"),
            (f"blocks.{{i}}.norm2.{part}", f"decoder.blocks.{{i}}.norm2.{part}"),
            (f"blocks.{{i}}.linear1.{part}", f"decoder.blocks.{{i}}.mlp.fc1.{part}"),
            (f"blocks.{{i}}.linear2.{part}", f"decoder.blocks.{{i}}.mlp.fc2.{part}"),
        ]
    return rows


def transformers_rows() -> list[Row]:
    """transformers' CLIPSegForImageSegmentation: its CLIP under `clip.`, q, k and v apart."""
    rows = prefixed(clip.transformers_rows(), "clip.", "clip.") + head_rows("decoder.transposed_convolution")
    layer, block = "decoder.layers.{i}", "decoder.blocks.{i}"
    for part in ("weight", "bias"):
        rows += [
            (f"decoder.film_mul.{part}", f"decoder.film_mul.{part}"),
            (f"decoder.film_add.{part}", f"decoder.film_add.{part}"),
            (f"decoder.reduces.{{i}}.{part}", f"decoder.reduces.{{i}}.{part}"),
            (f"{layer}.layer_norm1.{part}", f"{block}.norm1.{part}"),
            (f"{layer}.self_attn.{{q,k,v}}_proj.{part}", f"{block}.attn.qkv.{part}", STACK_ROWS),
            (f"{layer}.self_attn.out_proj.{part}", f"{block}.attn.out_proj.{part}"),
            (f"{layer}.layer_norm2.{part}", f"{block}.norm2.{part}"),
            (f"{layer}.mlp.fc1.{part}", f"{block}.mlp.fc1.{part}"),
            (f"{layer}.mlp.fc2.{part}", f"{block}.mlp.fc2.{part}"),
        ]
    return rows


PIXELS = 352  # what the released models were trained and scored at: 22 x 22 patches of 16
RELEASED: dict[str, Any] = {"extract_layers": (3, 6, 9), "decoder_heads": 4}
DECODER_HEADS = {64: 4, 16: 4}  # by reduce_dim
FORMATS = {
    "official": Format(Table(official_rows()), clip.OPENAI_RULE),
    "transformers": Format(Table(transformers_rows()), takes=lambda _: "transformers.CLIPSegForImageSegmentation"),
}


def join(decoder: Mapping[str, Tensor], clip_tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official decoder file and the CLIP it was trained on (ViT-B/16 in all released ones): one state dict.

    Args:
        decoder: the tensors of rd64-uni.pth or the like.
        clip_tensors: CLIP in any format we read: OpenAI's archive, open_clip's or transformers' names.

    Raises:
        UserError: the decoder is none, or the CLIP is none or has a ResNet tower. Whether the two belong together,
            `build` says.
    """
    if "film_mul.weight" not in decoder:
        shown = ", ".join(list(decoder)[:3]) or "no tensor at all"
        raise UserError(f"this is no CLIPSeg decoder file ({shown} ...): expected film_mul.weight and others beside it")
    clip_tensors = unwrapped(clip_tensors, {"clip": clip.SYSTEM})
    _, format_name = detect(clip_tensors, {"clip": clip.SYSTEM})
    if format_name.endswith("_resnet"):
        raise UserError("a CLIPSeg decoder reads a ViT tower (ViT-B/16), this CLIP has a ResNet: fetch ViT-B/16")
    if format_name == "transformers":
        ours = clip.SYSTEM.formats[format_name].table.convert(clip_tensors).tensors
        clip_tensors = clip.SYSTEM.formats["openai"].table.export(ours)
    return {**decoder, **{CLIP_PREFIX + name: tensor for name, tensor in clip_tensors.items()}}


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An official state dict -> the decoder, as the official files hold it, and the CLIP under OpenAI's names.

    The decoder lacks the never used `reduce.weight` and `reduce.bias`; the official code loads it all the same (it says
    strict=False).
    """
    decoder = {name: tensor for name, tensor in tensors.items() if not name.startswith((CLIP_PREFIX, "model."))}
    tower = {name.removeprefix(CLIP_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(CLIP_PREFIX)}
    return decoder, tower


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; the layers and heads of the released models unless told.

    Raises:
        UserError: a decoder without a CLIP, or with one it was not trained on.
    """
    decoder = {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    tower = {name.removeprefix("clip."): tensor for name, tensor in tensors.items() if name.startswith("clip.")}
    if not tower:
        raise UserError(
            "this is a CLIPSeg decoder alone, as the official rd64-uni.pth is: it needs the CLIP that it was trained "
            "on, ViT-B/16 for all released ones: load(file, clip='ViT-B/16'), or --tell clip=FILE on the command line"
        )
    reduce_dim = len(decoder["decoder.film_mul.weight"])
    known = {**not_in_shapes(reduce_dim, told), **told}
    clip_arguments = clip.architecture(tower, known)[1]
    kernels = head_kernels(decoder)
    check_pair(decoder, kernels, clip_arguments)
    arguments = {
        "clip": {"class": "CLIP", "arguments": clip_arguments},
        "extract_layers": check_layers(known["extract_layers"], count_blocks(decoder, "decoder.reduces.")),
        "reduce_dim": reduce_dim,
        "decoder_heads": known["decoder_heads"],
        "decoder_mlp_dim": len(decoder["decoder.blocks.0.mlp.fc1.weight"]),
        "refined_kernels": kernels if len(kernels) == 2 else None,
    }
    check_sizes({**arguments, "refined": len(kernels) == 2}, told, ("reduce_dim", "decoder_mlp_dim", "refined"))
    return "CLIPSeg", arguments


def not_in_shapes(reduce_dim: int, told: Mapping[str, Any]) -> dict[str, Any]:
    """Layers and heads that nobody told: those of the released models, said aloud.

    The official code has no others, so that beside its names nothing need be said.

    Raises:
        UserError: no released decoder is so wide.
    """
    known = {"decoder_heads": told.get("decoder_heads") or heads_of(reduce_dim, DECODER_HEADS, "decoder_heads")}
    known["extract_layers"] = told.get("extract_layers", RELEASED["extract_layers"])
    if (assumed := {key: known[key] for key in RELEASED if key not in told}) and "head_width" not in told:
        say_assumed(assumed)
    return known


def head_kernels(decoder: Mapping[str, Tensor]) -> tuple[int, ...]:
    """How many times each transposed convolution of the head enlarges: one of the plain head, two of the refined."""
    if "decoder.head.weight" in decoder:
        return (decoder["decoder.head.weight"].shape[-1],)
    return tuple(decoder[f"decoder.head.{layer}.weight"].shape[-1] for layer in (2, 4))


def check_layers(layers: Any, count: int) -> tuple[int, ...]:
    """As many layers told as the decoder reads."""
    if len(layers) != count:
        raise UserError(
            f"the decoder reads {count} activations, extract_layers {tuple(layers)} names {len(layers)}: tell which "
            "blocks of the tower they are, counted from 0 (extract_layers=...)"
        )
    return tuple(layers)


def check_pair(decoder: Mapping[str, Tensor], kernels: tuple[int, ...], arguments: Mapping[str, Any]) -> None:
    """Whether decoder and CLIP were made for each other, as far as sizes tell."""
    wanted = {
        "embeddings of": decoder["decoder.film_mul.weight"].shape[1],
        "a tower of width": decoder["decoder.reduces.0.weight"].shape[1],
        "patches of": kernels[0] * kernels[-1] if len(kernels) == 2 else kernels[0],
    }
    given = dict(zip(wanted, (arguments["embed_dim"], arguments["vision_width"], arguments["patch_size"])))
    if wanted != given:
        sides = [", ".join(f"{what} {size}" for what, size in side.items()) for side in (wanted, given)]
        raise UserError(
            f"this decoder and this CLIP do not belong together: the decoder was trained on a CLIP with {sides[0]}; "
            f"this CLIP has {sides[1]}. The released decoders belong to ViT-B/16 (512, 768, 16)"
        )


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json says.

    Its `decoder_hidden_act` is not read: transformers itself sets ReLU whatever it says.

    Raises:
        UserError: a value of a wrong type, or one that no released model has.
    """
    if not any(key.startswith(("model_type", "vision_config", "text_config")) for key in config):
        return {}  # somebody else's
    config.expect("model_type", "clipseg", why="these weights have CLIPSeg's names")
    config.expect("conditional_layer", 0, why="the prompt enters at the first step, as in all released ones")
    return {
        **clip_configs.transformers_told(config),
        "extract_layers": config.wholes("extract_layers", RELEASED["extract_layers"], least=0),
        "decoder_heads": config.whole("decoder_num_attention_heads", RELEASED["decoder_heads"]),
        "reduce_dim": config.whole("reduce_dim", 64),
        "decoder_mlp_dim": config.whole("decoder_intermediate_size", 2048),
        "refined": config.truth("use_complex_transposed_convolution", False),
    }


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """CLIP's tokenizer, and each format's own order of preprocessing, to 352 pixels."""
    if "preprocessor_config" in beside:
        preprocess = preprocess_to_dict(TransformersPreprocess.from_config(beside.inside("preprocessor_config")))
    elif format_name == "transformers":
        preprocess = preprocess_to_dict(
            TransformersPreprocess((PIXELS, PIXELS), resample=2, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        )
    else:
        preprocess = preprocess_to_dict(TensorPreprocess(PIXELS))
    tokenizer = clip_configs.tokenizer(arguments["clip"]["arguments"], format_name, beside)
    return {"preprocess": preprocess, "tokenizer": tokenizer}


def tensors_of(value: Any, what: str) -> Mapping[str, Tensor]:
    """The tensors of the CLIP beside a decoder; UserError else."""
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise UserError(f"{what} is {shown(value)}, expected the tensors of a CLIP: {{name: tensor}}")
    return value


TOLD: dict[str, Check] = {
    **clip.TOLD,
    "extract_layers": partial(wholes, least=0, most=4096),
    "decoder_heads": HEADS,
    "reduce_dim": whole,
    "decoder_mlp_dim": whole,
    "refined": truth,
    "clip": tensors_of,
}
SYSTEM = System("clipseg", FORMATS, architecture, TOLD, from_config, surroundings, join)


# ---------------------------------------------------------------- the official checkpoints

CLIPSEG_FILES = "https://owncloud.gwdg.de/index.php/s/ioHbRzFx6th32hn/download?path=%2F&files="  # its README's folder


def _clipseg(name: str, about: int, decoder: int, note: str, revision: str = "main") -> tuple[Entry, Entry]:
    """One CLIPSeg in transformers' layout, and the official file of its decoder; sizes counted from the shapes."""
    small = (File("config.json"), File("preprocessor_config.json"))
    repo = f"CIDAS/clipseg-{name}"
    whole = Entry(
        name=repo,
        system="clipseg",
        format="transformers",
        licence="see its card",
        files=(
            File("pytorch_model.bin", about=about),
            *small,
            *(File(file, optional=True) for file in TOKENIZER_FILES),
        ),
        repo=repo,
        revision=revision,
        note=f"CLIPSeg, {note}",
    )
    file = name.replace("rd64", "rd64-uni").replace("rd16", "rd16-uni")
    alone = Entry(
        name=file,
        system="clipseg",
        format="official",
        licence="not stated",  # the repository is MIT and says that its licence does not cover the weights
        files=(File(f"{file}.pth", about=decoder),),
        note=f"CLIPSeg's official decoder, {note}; joined with ViT-B/16",
        url=f"{CLIPSEG_FILES}{file}.pth",
        clip="ViT-B/16",
    )
    return whole, alone


ENTRIES: tuple[Entry, ...] = (
    *_clipseg(
        "rd64-refined",
        602990984,
        4704900,
        "D = 64, refined head: the usual choice",
        revision="999e0328d9e10b484360c477313983f9afdd7050",
    ),
    *_clipseg("rd64", 602775560, 4489476, "D = 64"),
    *_clipseg("rd16", 599537672, 1103940, "D = 16"),
)
