"""A reader's own file beside the library: fine-tuned, converted by us, or an embedded model.

    verify_source(open_source("finetuned.pth"))                              sizes as they were read from the file
    verify_source(open_source("mine.pth"), "timm:vit_small_patch16_224")     sizes as the library has them

A file in the library's own names is read by the library itself; any other is given to it as `export` writes it. Where
the library says the sizes, heads or an epsilon that were read wrongly from the file show.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from checkpoints_convert.exporting import export_as, spellings_of, whole_arguments
from checkpoints_convert.load import Source, load_source
from checkpoints_convert.proof.compare import Pair, Progress
from checkpoints_convert.proof.references import Reference, references
from checkpoints_convert.proof.verify import Report, side_by_side
from checkpoints_convert.tables import SYSTEMS
from minimodels.errors import UserError


def verify_source(
    source: Source,
    against: str = "",
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Ours with the weights of a file, beside the model of every library that has it, with the same weights.

    Args:
        source: the file, read.
        against: "timm:NAME", "open_clip:NAME" or "transformers:NAME" (an official name or a folder with a config.json):
            that model; empty takes every library's, built with the sizes that were read from the file.
        device, seed: where to run, what inputs to draw.
        progress: called with a word before each step.

    Raises:
        UserError: no library has such a model, or the library's does not take the tensors.
    """
    library, _, name = against.partition(":")
    if against and (library not in NAMED or not name):
        raise UserError(f"against {against!r}: expected LIBRARY:NAME, the library one of {', '.join(NAMED)}")
    ours: Any = load_source(source, "cpu", torch.float32)
    about = {**ours.about, "arguments": whole_arguments(ours.about["class"], ours.about["arguments"])}
    chosen = [
        reference
        for reference in references(about["system"])
        if library in ("", reference.library) and reference.sizes(about["arguments"]) is not None
    ]
    if not chosen:
        whose = f"{library} has" if library else "the libraries have"
        raise UserError(
            f"{whose} no {about['class']} with the sizes of {source.checkpoint.path}, nothing to hold it against; the "
            f"proof of {about['system']} is its parity suite and its golden cases"
        )
    comparisons = []
    for reference in chosen:
        with asking(f"{reference.library}'s {name or reference.model}", source.checkpoint.path.name):
            theirs = filled(source, ours, reference, name, about)
        fitting = replace(reference, pairs=common(reference.pairs, ours, theirs))
        origin = f"weights of {source.checkpoint.path.name}{f', its {name}' if name else ''}"
        comparisons.append(side_by_side(fitting, ours, theirs, origin, device=device, seed=seed, progress=progress))
    return Report(comparisons)


@contextmanager
def asking(whose: str, file: str) -> Iterator[None]:
    """Whatever a library says against a name or against tensors, as one line.

    Raises:
        UserError: in place of any exception.
    """
    try:
        yield
    except Exception as error:  # of three libraries, each with its own kinds
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        raise UserError(f"{whose} does not take the tensors of {file}: {reason}") from error


def filled(source: Source, ours: nn.Module, reference: Reference, name: str, about: Mapping[str, Any]) -> nn.Module:
    """The library's model with the file's weights."""
    sizes = reference.sizes(about["arguments"]) or {}
    if name:
        build = NAMED[reference.library]
        reference, sizes = replace(reference, build=partial(build, reference, name, about["arguments"])), {}
    itself = not source.is_ours and about["format"] in spellings_of(SYSTEMS[about["system"]], reference.library)
    tensors = source.checkpoint.tensors if itself else export_as(ours, reference.library).tensors
    return reference.open(reference, tensors, sizes)


def common(pairs: Sequence[Pair], ours: nn.Module, theirs: nn.Module) -> list[Pair]:
    """The pairs of modules that both models have at these sizes."""
    mine, other = ({name for name, _ in model.named_modules()} for model in (ours, theirs))
    return [pair for pair in pairs if pair[0].replace("{i}", "0") in mine and pair[1].replace("{i}", "0") in other]


# The library's model of a name.


def timm_named(reference: Reference, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """With the file's number of classes and picture size."""
    import timm

    told = {"num_classes": arguments.get("num_classes", 0), "img_size": arguments["image_size"]}
    return timm.create_model(name, pretrained=False, **told)


def open_clip_named(reference: Reference, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """By the name of its config ("ViT-B-32-quickgelu")."""
    from open_clip import get_model_config

    if get_model_config(name) is None:
        raise UserError("there is no config of that name")
    return reference.build(config=name)


def transformers_named(reference: Reference, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """An official name whose sizes we know, with the file's number of classes, or what a config.json says."""
    sizes = reference.sizes(arguments) or {}
    if name in reference.official:
        head = {key: sizes[key] for key in ("num_labels", "head") if key in sizes}
        return reference.build(**{**reference.official[name], **head})
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, local_files_only=True, attn_implementation="sdpa")
    usual: Any = reference.build(**sizes)
    return type(usual)(config)


Named = Callable[[Reference, str, Mapping[str, Any]], nn.Module]
NAMED: dict[str, Named] = {"timm": timm_named, "transformers": transformers_named, "open_clip": open_clip_named}
