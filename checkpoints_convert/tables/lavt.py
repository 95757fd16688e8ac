"""LAVT: the official repository's names <-> ours, `lavt` (BERT beside) and `lavt_one` (BERT inside) (lesson 4.4).

An official `lavt` file is a dictionary with two models, `model` and `bert_model`; `join` puts the second under
`bert_model.` beside the first (`read_tensors` does so by itself), `split` is the inverse. A `lavt_one` file has one
model, BERT under `text_encoder.`. What no shape tells: the heads of PWAM (one in all released models; the file's own
`args` say) and of BERT (12, as bert-base). The files hold no vocabulary: it is bert-base-uncased's vocab.txt, found
beside the file or where `fetch google-bert/bert-base-uncased` puts it.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import bert, swin
from checkpoints_convert.tables.assumed import heads_of
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.clipseg import prefixed
from checkpoints_convert.tables.rules import Operation, Row, Table
from checkpoints_convert.tables.system import HEADS, Architecture, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, wholes
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import SquashPreprocess
from minimodels.swin import relative_position_index

BESIDE, INSIDE = "bert_model.", "text_encoder."  # where BERT's names stand in the two layouts
MOST_PIXELS = 8192
PIXELS = 480  # a side; what the released models were trained and scored at, whatever the picture's shape
TOKENS = 20  # the list of ids is cut there, whatever it ends with: a long sentence loses its [SEP]
VOCABULARY = "google-bert/bert-base-uncased"
POOLER = "BERT's pooler, in files that were not trained on several GPUs; words alone are read"
NO_KERNEL = Operation(
    "drop the kernel axis", lambda parts: parts[0].squeeze(-1), lambda whole, _: [whole.unsqueeze(-1)]
)


FUSION = {
    "image_lang_att.f_query": "query",
    "image_lang_att.f_key": "key",
    "image_lang_att.f_value": "value",
    "image_lang_att.W": "attended_proj",
    "vis_project": "visual_proj",
    "project_mm": "out_proj",
}


def language_rows() -> list[Row]:
    """PWAM (1x1 convolutions there, linear layers here), gates, and the norms before the decoder."""
    rows: list[Row] = []
    for theirs, ours in FUSION.items():
        start = f"backbone.layers.{{i}}.fusion.{theirs}.0"
        rows += [(f"{start}.weight", f"fusions.{{i}}.{ours}.weight", NO_KERNEL)]
        rows += [(f"{start}.bias", f"fusions.{{i}}.{ours}.bias")]
    rows += [
        ("backbone.layers.{i}.res_gate.0.weight", "gates.{i}.fc1.weight"),
        ("backbone.layers.{i}.res_gate.2.weight", "gates.{i}.fc2.weight"),
    ]
    return rows + [(f"backbone.norm{{i}}.{part}", f"norms.{{i}}.{part}") for part in ("weight", "bias")]


def decoder_rows() -> list[Row]:
    """Their steps are numbered 4, 3, 2 by the stage that they start from; ours 0, 1, 2."""
    rows: list[Row] = [(f"classifier.conv1_1.{part}", f"head.{part}") for part in ("weight", "bias")]
    for ours, theirs in enumerate((4, 3, 2)):
        for number in (1, 2):
            rows += [(f"classifier.conv{number}_{theirs}.weight", f"steps.{ours}.conv{number}.weight")]
            rows += [
                (f"classifier.bn{number}_{theirs}.{part}", f"steps.{ours}.norm{number}.{part}")
                for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            ]
    return rows


def official_rows(text: str) -> list[Row]:
    """All of it, with BERT under the prefix `text`."""
    image = prefixed(swin.official_rows(), "backbone.", "backbone.")
    words: list[Row] = [(row[0], None, POOLER) if "pooler" in row[0] else row for row in bert.official_rows()]
    return [*image, *language_rows(), *decoder_rows(), *prefixed(words, text, "bert.")]


def position_indices(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The saved buffers that no one learns, from the bias tables: the official code loads strictly and wants them."""
    found = {}
    for name, table in tensors.items():
        if name.endswith("relative_position_bias_table"):
            side = swin.window_of(len(table), name)
            found[name.replace("bias_table", "index")] = relative_position_index(side, device="cpu")
    return found


INSIDE_MARKS = (f"{INSIDE}embeddings.word_embeddings.weight",)
FORMATS = {
    "official": Format(Table(official_rows(BESIDE)), computed=position_indices),
    "official_one": Format(Table(official_rows(INSIDE)), marks=INSIDE_MARKS, computed=position_indices),
}


def join(model: Mapping[str, Tensor], bert_model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The two dictionaries of an official `lavt` file as one."""
    return {**model, **{BESIDE + name: tensor for name, tensor in bert_model.items()}}


def split(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What `export(model, "official")` gives as the official file has it: {"model": ..., "bert_model": ...}."""
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(BESIDE)}
    text = {name.removeprefix(BESIDE): tensor for name, tensor in tensors.items() if name.startswith(BESIDE)}
    return {"model": model, "bert_model": text}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; one head a PWAM and 64 channels a head of BERT unless told.

    Raises:
        UserError: the image side alone, without BERT.
    """
    if not any(name.startswith("bert.") for name in tensors):
        raise UserError(
            "this is LAVT's image side alone, its BERT is missing: an official file holds it as `bert_model` beside "
            "`model`; read the whole file, or put both together with "
            "checkpoints_convert.tables.lavt.join(model, bert_model)"
        )
    image = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items() if name.startswith("backbone.")}
    backbone = swin.architecture(image, {"backbone": True})[1]
    vocab_size, text_dim = tensors["bert.token_embedding.weight"].shape
    words = {
        "vocab_size": vocab_size,
        "max_length": len(tensors["bert.pos"]),
        "embed_dim": text_dim,
        "depth": count_blocks(tensors, "bert.blocks."),
        "num_heads": told.get("text_heads") or heads_of(text_dim, bert.HEADS_OF, "text_heads"),
        "mlp_dim": len(tensors["bert.blocks.0.mlp.fc1.weight"]),
    }
    return "LAVT", {
        "backbone": {"class": "SwinBackbone", "arguments": backbone},
        "bert": {"class": "BERT", "arguments": words},
        "fusion_heads": tuple(told.get("fusion_heads", [1] * len(backbone["depths"]))),
        "decoder_dim": tensors["head.weight"].shape[1],
    }


def from_config(config: Settings) -> dict[str, Any]:
    """The command line of the training, as the official file keeps it in `args`: heads of PWAM as in "1-1-1-1".

    Raises:
        UserError: its `mha` is none.
    """
    heads = config.text("mha", "")
    if not heads:
        return {}
    if not re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4})*", heads):
        raise UserError(f"args of this file say mha={heads!r}, expected heads of each stage as in '1-1-1-1'")
    return {"fusion_heads": tuple(int(count) for count in heads.split("-"))}


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The picture squashed to 480 x 480, or what it was trained at; the tokenizer where its vocabulary is found."""
    args = beside.inside("args")
    side = args.whole("img_size", PIXELS, most=MOST_PIXELS)
    about: dict[str, Any] = {"preprocess": preprocess_to_dict(SquashPreprocess(side))}
    args.expect("bert_tokenizer", VOCABULARY.rpartition("/")[2], VOCABULARY, why="LAVT's words are those")
    if "vocabulary" in beside:
        told = bert.surroundings(arguments["bert"]["arguments"], format_name, beside)
        about["tokenizer"] = {**told["tokenizer"], "context_length": TOKENS, "keep_end": False}
    return about


SYSTEM = System(
    name="lavt",
    formats=FORMATS,
    architecture=architecture,
    told={"fusion_heads": partial(wholes, most=4096), "text_heads": HEADS},
    from_config=from_config,
    surroundings=surroundings,
    lent={"vocabulary": (VOCABULARY, "vocab.txt")},
)


# ---------------------------------------------------------------- the official checkpoints

# LAVT's README links to Google Drive. This address gives the file itself where Drive agrees; it is not ours to promise:
# Drive may answer with a page (too many downloads today ...), which `download` refuses, and then a browser is the way.
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="


def _lavt(data: str, beside: str, inside: str, note: str) -> tuple[Entry, Entry]:
    """LAVT trained on one data set, in both layouts, by the ids of its README. Swin-B, window 12, and BERT-base."""

    def one(layout: str, form: str, number: str, where: str) -> Entry:
        return Entry(
            name=f"{layout}-{data}",
            system="lavt",
            format=form,
            licence="not stated",  # the code is GPL-3.0; nothing is said of the weights
            files=(File(f"{layout}_{data}.pth", about=910958056),),
            note=f"LAVT of {note}, BERT {where}; Google Drive, perhaps with its optimiser (then about 2.4 GB)",
            url=f"{DRIVE}{number}",
        )

    return one("lavt", "official", beside, "beside"), one("lavt_one", "official_one", inside, "inside")


ENTRIES: tuple[Entry, ...] = (
    *_lavt(
        "refcoco",
        "13D-OeEOijV8KTC3BkFP-gOJymc6DLwVT",
        "1xFMEXr6AGU97Ypj1yr8oo00uObbeIQvJ",
        "RefCOCO (the man on the left)",
    ),
    *_lavt(
        "refcoco+",
        "1B8Q44ZWsc8Pva2xD_M-KFh7-LgzeH2-2",
        "1HS8ZnGaiPJr-OmoUn4-4LVnVtD_zHY6w",
        "RefCOCO+ (no words of place)",
    ),
    *_lavt(
        "gref-umd",
        "1BjUnPVpALurkGl7RXXvQiAHhA-gQYKvK",
        "14g8NzgZn6HzC6tP_bsQuWmh5LnOcovsE",
        "G-Ref (longer sentences), UMD split",
    ),
    *_lavt(
        "gref-google",
        "1weiw5UjbPfo3tCBPfB8tu6xFXCUG16yS",
        "1IJeahFVLgKxu_BVmWacZs3oUzgTCeWcz",
        "G-Ref (longer sentences), Google split",
    ),
)
