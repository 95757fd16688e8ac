"""Our own model files, and the small trained models that come with the book.

A file is a .safetensors with our parameter names and, in its text metadata, all that is needed to build the model
again: the class, the numbers of its constructor, its preprocessing and its tokenizer. `checkpoints_convert` writes the
same files from official checkpoints.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.pixels.preprocess import Preprocess
from minimodels.stored import embedded
from minimodels.stored.aligned import save_aligned
from minimodels.stored.classes import model_class, preprocess_class
from minimodels.words.byte_pair import BytePairTokenizer
from minimodels.words.no_tokenizer import NoTokenizer
from minimodels.words.word_piece import WordPieceTokenizer

JSON_KEYS = ("arguments", "preprocess", "tokenizer", "borrowed")


def load(name: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """An embedded model in eval mode, with `.preprocess` and, where it reads text, `.tokenize`.

    Raises:
        UserError: no such model.
    """
    if name not in embedded.names():
        raise UserError(f"there is no embedded model {name!r}; there are: {', '.join(embedded.names())}")
    return open_file(embedded.file(name), device=device, dtype=dtype)


def open_file(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = torch.float32
) -> nn.Module:
    """A model from a file that `save` wrote, in eval mode; `dtype` None keeps the stored one.

    Raises:
        UserError: the file is missing, damaged or not one of ours.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            about = read_about(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        for prefix, lender in about.get("borrowed", {}).items():
            with safe_open(embedded.file(lender), framework="pt", device=str(device)) as file:
                tensors |= {prefix + name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as a safetensors file ({error}); is it complete?") from error
    if dtype is not None:
        tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        model = build(about["class"], about["arguments"])
        model.load_state_dict(tensors, assign=True)
    except (TypeError, RuntimeError) as error:  # arguments the class does not take; tensors that do not fill it
        raise UserError(f"{path} does not hold a whole {about['class']}: {error}") from error
    return equip(model.eval().to(device), about)  # the tensors are there already; buffers that no file holds follow


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata names one of our models."""
    return model_class(metadata.get("class", "")) is not None


def read_about(path: str | Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The metadata of one of our files, its JSON values parsed.

    Raises:
        UserError: it is not one of ours.
    """
    if not is_ours(metadata):
        raise UserError(f"{path} is not one of our model files (no known class in its metadata); convert it first")
    try:
        return {key: json.loads(value) if key in JSON_KEYS else value for key, value in metadata.items()}
    except ValueError as error:
        raise UserError(f"{path} has damaged metadata ({error}); convert or fetch it again") from error


def build(class_name: str, arguments: dict[str, Any]) -> nn.Module:
    """An empty model of the named class on the meta device: shapes only, no memory, no time.

    Raises:
        UserError: no such class.
    """
    with torch.device("meta"), NoValues():
        return make(class_name, arguments)


def make(class_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A model of the named class before any training, from the arguments that a file tells.

    A part that the constructor takes is told as {"class": "CLIP", "arguments": {...}} and made first, wherever it lies.

    Raises:
        UserError: no such class.
    """
    cls = model_class(class_name)
    if cls is None:
        raise UserError(f"there is no model class {class_name!r} in minimodels")
    return cls(**{name: argument(value) for name, value in arguments.items()})


def argument(value: Any) -> Any:
    """What a constructor is given: a part made, a list of JSON as a tuple, all else as it is."""
    if isinstance(value, Mapping) and value.keys() == {"class", "arguments"}:
        return make(value["class"], value["arguments"])
    return tuple(value) if isinstance(value, list) else value


KEEPS_SHAPE = (nn.init.normal_, Tensor.mul, Tensor.log)  # what constructors do to a tensor


class NoValues(TorchFunctionMode):
    """Initialising a tensor of the meta device does nothing, for there are no values.

    Without it the first random number or product there makes torch load its compiler, which takes seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Random numbers are an empty tensor; what happens to a meta tensor leaves it as it is."""
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        tensor = kwargs.get("tensor", args[0] if args else None)
        if func in KEEPS_SHAPE and isinstance(tensor, Tensor) and tensor.is_meta:
            return tensor
        return func(*args, **kwargs)


def equip(model: nn.Module, about: dict[str, Any]) -> nn.Module:
    """Put `.preprocess` (picture -> tensor), `.tokenize` (texts -> ids) and `.about` (metadata) beside the weights."""
    model.about = about  # type: ignore[assignment]
    if "preprocess" in about:
        model.preprocess = preprocess_from_dict(about["preprocess"])  # type: ignore[assignment]
    if "tokenizer" in about:
        model.tokenize = tokenizer_from_dict(about["tokenizer"])  # type: ignore[assignment]
    return model


def preprocess_from_dict(about: Mapping[str, Any]) -> Preprocess:
    """Build a preprocess from what `preprocess_to_dict` gave, also after a trip through JSON.

    Raises:
        UserError: an unknown class or unknown numbers.
    """
    numbers = {name: tuple(value) if isinstance(value, list) else value for name, value in about.items()}
    cls = preprocess_class(str(numbers.pop("class", "")))
    try:
        if cls is not None:
            return cls(**numbers)
    except TypeError:
        pass  # unknown numbers: the same message
    raise UserError(
        f"unknown preprocessing {dict(about)}: no such class in minimodels/pixels, or not with these numbers"
    )


def tokenizer_from_dict(about: dict[str, Any]) -> Callable[..., Any]:
    """The tokenizer a file names: CLIP's own, byte-pair merges or a WordPiece vocabulary in the file; or why none."""
    if about["kind"] == "wordpiece":
        return WordPieceTokenizer(**{key: value for key, value in about.items() if key != "kind"})
    if about["kind"] == "none":
        return NoTokenizer(about["why"])
    if about["kind"] == "clip":
        return BytePairTokenizer.clip(about["context_length"])
    return BytePairTokenizer([tuple(pair) for pair in about["merges"]], about["context_length"])


def save(path: str | Path, model: nn.Module, about: dict[str, Any], dtype: torch.dtype | None = None) -> None:
    """Write a model whole or not at all, its tensors aligned (`minimodels.stored.aligned`).

    Args:
        path: the .safetensors file.
        model: its `state_dict` is stored under our names.
        about: "class" and "arguments" (what the constructor was called with), "system", and where they apply
            "preprocess" (`images.preprocess_to_dict`) and "tokenizer" ({"kind": "clip" or "merges", "context_length"},
            or {"kind": "wordpiece", "vocabulary": [...]} and any other argument of `WordPieceTokenizer`). A part that
            is an embedded model unchanged is not stored again: "borrowed" {"clip.": "tiny-clip"} says where it lies.
        dtype: convert floating tensors (torch.float16 for the embedded models); None keeps them.
    """
    state: dict[str, Tensor] = model.state_dict()
    if dtype is not None:
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(about.get("borrowed", ())))}
    text = {key: json.dumps(value) if key in JSON_KEYS else str(value) for key, value in about.items()}
    with write_aside(path) as aside:
        save_aligned(state, aside, metadata=text)
