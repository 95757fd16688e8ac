"""Our own model files, and the small trained models that come with the book.

A file is a .safetensors with our parameter names and, in its text metadata, all that is needed to build the model
again: the class, the numbers of its constructor, its preprocessing and its tokenizer. `checkpoints_convert` writes the
same files from official checkpoints.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.errors.untrusted import Settings, parse_json, reading, shown
from minimodels.pixels.preprocess import Preprocess
from minimodels.stored import embedded
from minimodels.stored.aligned import save_aligned
from minimodels.stored.arguments import read_arguments
from minimodels.stored.classes import model_class, preprocess_class, tokenizer_kinds
from minimodels.stored.finite import check_finite
from minimodels.words.no_tokenizer import NoTokenizer

JSON_KEYS = ("arguments", "preprocess", "tokenizer", "borrowed")
NEEDED = ("arguments", "system")  # beside the class
LONGEST = 2**16  # ids in a row
LARGE = 10_000  # numbers of a parameter
SPARE = 1000  # parameters and modules that building a small model may register and drop again


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
        about, tensors = read_tensors(path, device)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as a safetensors file ({error}); is it complete?") from error
    if dtype is not None:
        tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        with reading("its metadata"), no_larger_than(tensors):
            model = build(about["class"], about["arguments"])
        check_numbers(model, tensors)
        model.load_state_dict(tensors, assign=True)
        with reading("its metadata"):
            equip(model, about)
    except (UserError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not hold a whole {about['class']}: {reason}") from error
    return model.eval().to(device)  # the tensors are there already; buffers that no file holds follow


def read_tensors(path: str | Path, device: str | torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a file, borrowed ones included.

    Raises:
        UserError: it is not one of ours.
    """
    with safe_open(path, framework="pt", device=str(device)) as file:
        about = read_about(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    for prefix, lender in read_borrowed(about, path).items():
        with safe_open(embedded.file(lender), framework="pt", device=str(device)) as file:
            tensors |= {prefix + name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return about, tensors


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata names one of our models."""
    return model_class(metadata.get("class", "")) is not None


def read_about(path: str | Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of one of our files, its JSON values parsed.

    Raises:
        UserError: it is not one of ours.
    """
    if not is_ours(metadata):
        raise UserError(f"{path} is not one of our model files (no known class in its metadata); convert it first")
    if lacking := [key for key in NEEDED if key not in metadata]:
        raise UserError(f"{path} has damaged metadata (without {' and '.join(lacking)}); convert or fetch it again")
    where = "{} in the metadata of {}"
    return {
        key: parse_json(value, where.format(key, path)) if key in JSON_KEYS else value
        for key, value in metadata.items()
    }


def read_borrowed(about: Mapping[str, Any], path: str | Path) -> dict[str, str]:
    """{prefix: embedded model} of what lies in other files, each of them named once.

    Raises:
        UserError: it is something else.
    """
    borrowed = Settings(about.get("borrowed", {}), f"borrowed in the metadata of {path}")
    lenders = {prefix: borrowed.text(prefix, among=embedded.names()) for prefix in borrowed}
    if len(set(lenders.values())) < len(lenders):
        raise UserError(f"{borrowed.where} names one model for several parts")
    return lenders


@contextmanager
def no_larger_than(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """While a model is built: it may not have many more parts than tensors are there to fill it, and none of size 0.

    A large parameter has the shape of one of them before a constructor computes from it (Swin's index).

    Raises:
        UserError: it has; the rest of it is not built.
    """
    most, made, shapes = SPARE + 10 * len(tensors), 0, {tensor.shape for tensor in tensors.values()}

    def count(_: Any, name: str, part: Any) -> None:
        nonlocal made
        made += 1
        if made > most:
            raise UserError(f"its arguments ask for more than {most:,} parts, the file has {len(tensors):,} tensors")
        if isinstance(part, Tensor) and not part.numel():
            raise UserError(f"its arguments make a {name} of {tuple(part.shape)} numbers")
        if isinstance(part, Tensor) and part.numel() > LARGE and part.shape not in shapes:
            raise UserError(f"its arguments make a {name} of {tuple(part.shape)} numbers, which the file has not")

    hooks = [register_module_parameter_registration_hook(count), register_module_module_registration_hook(count)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_numbers(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Parameters are floating numbers, finite ones.

    Raises:
        UserError: some are not.
    """
    for name, _ in model.named_parameters():
        if name in tensors and not tensors[name].is_floating_point():
            raise UserError(f"{name} is {str(tensors[name].dtype).removeprefix('torch.')}, expected floating numbers")
    check_finite(tensors, "the file")


def build(class_name: str, arguments: Any) -> nn.Module:
    """An empty model of the named class on the meta device: shapes only, no memory, no time.

    Raises:
        UserError: no such class, arguments that it does not take.
    """
    with torch.device("meta"), NoValues():
        return make(class_name, arguments)


def make(class_name: Any, arguments: Any, kind: type[nn.Module] = nn.Module) -> nn.Module:
    """A model of the named class before any training, from the arguments that a file tells.

    A part that the constructor takes is told as {"class": "CLIP", "arguments": {...}} and made first, wherever it lies.

    Raises:
        UserError: no such class, or none of the asked kind; arguments that it does not take.
    """
    cls = model_class(class_name) if isinstance(class_name, str) else None
    if cls is None or not issubclass(cls, kind):
        wanted = "" if kind is nn.Module else f", expected {kind.__name__}"
        raise UserError(f"there is no model class {shown(class_name)} in minimodels{wanted}")
    return cls(**read_arguments(cls, arguments, f"the arguments of {class_name}", part=make))


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
        check_vocabulary(model)
    return model


def check_vocabulary(model: Any) -> None:
    """The tokenizer's ids are the rows of the model's table. With `SPARE_ROWS` the table may have more of them.

    Raises:
        UserError: an id without a row; of a byte-pair tokenizer also a row without an id, for its last two ids are the
            start and the end of a text.
    """
    if isinstance(model.tokenize, NoTokenizer):
        return
    ids, context = model.tokenize.vocab_size, model.tokenize.context_length
    tables = [module for name, module in model.named_modules() if name.endswith("token_embedding")]
    for table in tables:
        if ids > table.num_embeddings or (ids < table.num_embeddings and not model.tokenize.SPARE_ROWS):
            raise UserError(
                f"its tokenizer has {ids:,} ids, the model {table.num_embeddings:,} rows for them: "
                "it belongs to another model"
            )
    if not 2 <= context <= LONGEST:
        raise UserError(f"its tokenizer makes rows of {context:,} ids, expected 2 to {LONGEST:,}")


def preprocess_from_dict(about: Any) -> Preprocess:
    """Build a preprocess from what `preprocess_to_dict` gave, also after a trip through JSON.

    Raises:
        UserError: an unknown class or unknown numbers.
    """
    told = Settings(about, "preprocess")
    name = told.text("class")
    cls = preprocess_class(name)
    if cls is None:
        raise UserError(f"unknown preprocessing {shown(name)}: no such class in minimodels/pixels")
    preprocess: Preprocess = cls(**read_arguments(cls, _without(about, "class"), f"the preprocessing {name}"))
    return preprocess


def tokenizer_from_dict(about: Any) -> Callable[..., Any]:
    """The tokenizer a file names: CLIP's own, byte-pair merges or a WordPiece vocabulary in the file; or why none.

    Each file of `minimodels/words` says which kinds it makes.

    Raises:
        UserError: an unknown kind, or arguments that it does not take.
    """
    kinds = tokenizer_kinds()
    kind = Settings(about, "tokenizer").text("kind", among=tuple(kinds))
    make_one = kinds[kind]
    tokenizer: Callable[..., Any] = make_one(
        **read_arguments(make_one, _without(about, "kind"), f"the tokenizer {kind}")
    )
    return tokenizer


def _without(about: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name != key}


def save(path: str | Path, model: nn.Module, about: dict[str, Any], dtype: torch.dtype | None = None) -> None:
    """Write a model whole or not at all, its tensors aligned (`minimodels.stored.aligned`).

    Args:
        path: the .safetensors file.
        model: its `state_dict` is stored under our names.
        about: "class" and "arguments" (what the constructor was called with), "system", and where they apply
            "preprocess" (`preprocess_to_dict`) and "tokenizer" ({"kind": "clip" or "bpe", "context_length"},
            or {"kind": "wordpiece", "vocabulary": [...]} and any other argument of `WordPieceTokenizer`; "word_rows"
            likewise for `WordRows`). A part that is an embedded model unchanged is not stored again: "borrowed"
            {"clip.": "tiny-clip"} says where it lies.
        dtype: convert floating tensors (torch.float16 for the embedded models); None keeps them.
    """
    state: dict[str, Tensor] = model.state_dict()
    if dtype is not None:
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(about.get("borrowed", ())))}
    text = {key: json.dumps(value) if key in JSON_KEYS else str(value) for key, value in about.items()}
    with write_aside(path) as aside:
        save_aligned(state, aside, metadata=text)
