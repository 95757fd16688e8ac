"""Official checkpoints on the command line: list, fetch, inspect, convert, export, verify."""

import argparse
import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from checkpoints_convert.exporting import export_as, known_targets, targets
from checkpoints_convert.fetching import hub
from checkpoints_convert.inspection import columns, inspect
from checkpoints_convert.load import load, open_source
from checkpoints_convert.reading.files import write_tensors
from checkpoints_convert.tables import SYSTEMS, entries
from checkpoints_convert.tables.catalogue import Entry
from minimodels.errors import UserError
from minimodels.stored import embedded, models
from minimodels.terminal.door import check_device
from minimodels.terminal.parser import Parser, guarded, seed
from minimodels.terminal.printing import notice, printable

LIBRARIES = ("timm", "transformers", "open_clip")  # whose models `verify --against` knows by name
DTYPES = ("float64", "float32", "float16", "bfloat16")
TARGETS = ", ".join(targets())
FIRST_DOWNLOAD = "the first download's is recorded, and later ones are compared with it"
EXAMPLES = """
examples:
  python -m checkpoints_convert list                                       what there is, and what is here already
  python -m checkpoints_convert fetch openai/clip-vit-base-patch32         once; then it answers without a network
  python -m checkpoints_convert inspect openai/clip-vit-base-patch32       its tensors, and where each one goes
  python -m checkpoints_convert convert ViT-B-32.pt clip.safetensors       an official file -> our names, one file
  python -m checkpoints_convert export clip.safetensors open_clip out.pth  and back, for the library
  python -m checkpoints_convert verify openai/clip-vit-base-patch32        ours beside the library, block by block

A checkpoint is given as an official name (see list), a file (.safetensors, .pt, .pth, .bin, a TorchScript archive) or
a folder with one. Files are data here: code in them is refused, never run.
"""
SOURCE = "an official name, a checkpoint file or a folder with one"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line. What a person can put right ends as one line on stderr and exit code 2, Ctrl-C with 130."""
    return guarded(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Parse and run; what the converter had to assume is said at the end."""
    options = make_parser().parse_args(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        code: int = options.run(options)
    for warning in caught:
        if warning.category is UserWarning and "checkpoints_convert" in warning.filename:
            notice(str(warning.message))
    return code


def make_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(
        prog="python -m checkpoints_convert",
        description="Official checkpoints in and out: fetch them, look into them, convert them, prove them.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    add_list(commands)
    add_fetch(commands)
    add_inspect(commands)
    add_convert(commands)
    add_export(commands)
    add_verify(commands)
    return parser


# list


def add_list(commands: Any) -> None:
    parser = commands.add_parser(
        "list",
        help="the official checkpoints, and which are here",
        description="The official checkpoints that fetch knows: size, licence, whether their sha256 is known, and "
        "whether they are on this machine.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="show only those whose line has every word (clip, timm ...)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: also files, hashes, revisions and addresses")
    parser.set_defaults(run=run_list)


def run_list(options: argparse.Namespace) -> int:
    """Print the catalogue."""
    chosen = []
    for entry in entries():
        size, about = entry.weights.size, entry.weights.about
        megabytes = f"{size / 1e6:,.0f} MB" if size else f"~{about / 1e6:,.0f} MB" if about else "-"
        known = "yes" if entry.weights.sha256 else "no"
        here = "yes" if hub.cached(entry) else "no"
        row = [entry.name, entry.system, entry.format, megabytes, entry.licence, known, here]
        if all(word.lower() in " ".join([*row, entry.note]).lower() for word in options.words):
            chosen.append((entry, [*row, entry.note]))
    if not chosen:
        raise UserError(f"no official checkpoint has {' and '.join(map(repr, options.words))} in its line")
    if options.json:
        print(json.dumps([entry_to_json(entry) for entry, _ in chosen], indent=1))
        return 0
    rows = [["name", "system", "names", "size", "licence", "sha256", "here", ""], *(row for _, row in chosen)]
    widest = max(len(row[3]) for row in rows)
    rows = [[*row[:3], row[3].rjust(widest), *row[4:]] for row in rows]
    print("\n".join(columns(rows)))
    if unknown := sum(entry.weights.sha256 is None for entry, _ in chosen):
        notice(f"{unknown} of {len(chosen)} have no known sha256; {FIRST_DOWNLOAD}")
    return 0


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """One entry for a program."""
    about = {key: getattr(entry, key) for key in ("name", "system", "format", "licence", "repo", "revision", "note")}
    files = [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in entry.files]
    where = {"page": hub.page(entry), "here": hub.cached(entry)}
    return {
        **about,
        "told": dict(entry.told),
        "files": files,
        "sha256_known": entry.weights.sha256 is not None,
        **where,
    }


# fetch


def add_fetch(commands: Any) -> None:
    parser = commands.add_parser(
        "fetch",
        help="bring official checkpoints onto this machine",
        description="Download official checkpoints, check their sha256, and print where they are.",
        epilog="""
Files go to the Hugging Face cache (HF_HOME chooses the folder) and are found there from then on, without a network. An
interrupted download continues where it stopped. HF_ENDPOINT and PIXELS_OPENAI_URL name mirrors.

examples:
  python -m checkpoints_convert fetch openai/clip-vit-base-patch32
  python -m checkpoints_convert fetch ViT-B/32 RN50 --quiet
""",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="as list shows them")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run_fetch)


def run_fetch(options: argparse.Namespace) -> int:
    """Fetch, and print the paths."""
    for entry in [hub.find(name) for name in options.names]:  # a typo shows before anything is fetched
        paths = hub.fetch(entry, progress=not options.quiet)
        print("\n".join(map(str, paths)))
        if not hub.is_known(entry, paths[0]):
            notice(f"{entry.name}: {paths[0].name} could not be checked, no source tells its sha256; {FIRST_DOWNLOAD}")
    return 0


# inspect


def add_inspect(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="what is in a checkpoint, and where each tensor goes",
        description="Show a checkpoint: the file, the model it makes, each tensor's place, what is dropped and why.",
        epilog="""
A file that makes no whole model is shown too; then the last line says what is wrong, and the exit code is 2.

examples:
  python -m checkpoints_convert inspect openai/clip-vit-base-patch32
  python -m checkpoints_convert inspect ~/Downloads/model.pth --all | less
  python -m checkpoints_convert inspect lavt/refcoco.pth --part bert_model
""",
    )
    parser.add_argument("source", metavar="FILE|NAME", help=SOURCE)
    parser.add_argument("--all", action="store_true", help="a line for every tensor, also where blocks are alike")
    parser.add_argument("--part", metavar="NAME", help="of a file with several dictionaries of tensors, this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_tell(parser)
    parser.set_defaults(run=run_inspect)


def run_inspect(options: argparse.Namespace) -> int:
    """Print what is there; a file that makes no model ends in its problem and exit code 2."""
    source = open_source(options.source, options.part)
    source.told |= options.tell
    found = inspect(source)
    print(json.dumps(found.to_json(), indent=1) if options.json else found.text(every=options.all))
    if found.problem:
        sys.stdout.flush()
        raise UserError(f"{options.source}: {found.problem}")
    return 0


# convert and export


def add_convert(commands: Any) -> None:
    parser = commands.add_parser(
        "convert",
        help="an official checkpoint -> one file with our names",
        description="Convert an official checkpoint to one .safetensors file with our names.",
        epilog="""
The file holds all that the model needs: sizes, preprocessing, tokenizer. `python -m minimodels zero-shot ... --model
FILE` and `checkpoints_convert.load(FILE)` read it.

examples:
  python -m checkpoints_convert convert openai/clip-vit-base-patch32 clip-b32.safetensors
  python -m checkpoints_convert convert ViT-B-32.pt clip-b32-half.safetensors --dtype float16
  python -m checkpoints_convert convert finetuned.pt mine.safetensors --tell quick_gelu=false
""",
    )
    parser.add_argument("source", metavar="SRC", help=SOURCE)
    parser.add_argument("target", metavar="DST", type=Path, help="the file to write, ending in .safetensors")
    add_dtype(parser)
    add_tell(parser)
    parser.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> int:
    """Convert and write."""
    check_target(options.source, options.target, (".safetensors",))
    model = load_quietly(options)
    with writing(options.target, model):
        models.save(options.target, model, model.about)  # type: ignore[arg-type]
    about: Any = model.about
    print(printable(f"{options.target}: {about['class']} with {described(model, options.target)}", sys.stdout))
    return 0


def add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="a model -> tensors under a library's own names",
        description="Write a model under a library's own names, so that it loads there strictly: convert's inverse.",
        epilog=f"""
targets: {TARGETS}

The line that is printed names the class of the library that loads the file strictly, and how.

examples:
  python -m checkpoints_convert export clip-b32.safetensors open_clip clip-b32.pth
  python -m checkpoints_convert export tiny-clip transformers model.safetensors
""",
    )
    parser.add_argument("source", metavar="SRC", help=f"{SOURCE}, a converted file, or an embedded model")
    parser.add_argument("format", metavar="TARGET", help=TARGETS)
    parser.add_argument("target", metavar="DST", type=Path, help="the file to write: .safetensors, .pt, .pth or .bin")
    add_dtype(parser)
    add_tell(parser)
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Load, rename back, write."""
    check_target(options.source, options.target, (".safetensors", ".pt", ".pth", ".bin"))
    if options.format not in known_targets():
        raise UserError(f"there is no target {options.format!r}; there are: {TARGETS}")
    model = load_quietly(options)
    exported = export_as(model, options.format)
    metadata = {"format": "pt"} if options.target.suffix == ".safetensors" else None  # transformers asks for it
    with writing(options.target, model):
        write_tensors(options.target, exported.tensors, metadata)
    count = len(exported.tensors)
    written = f"{count} tensors in {options.format} names, {described(model, options.target)}"
    print(printable(f"{options.target}: {written}", sys.stdout))
    if exported.takes:
        print(printable(f"{exported.takes}: {ways(exported.takes, options.target)}", sys.stdout))
    return 0


def ways(takes: str, target: Path) -> str:
    """How the library's class loads the file."""
    strictly = "load_state_dict(..., strict=True)"
    if not takes.startswith("transformers."):
        return strictly
    named = target.name in ("model.safetensors", "pytorch_model.bin")
    proper = "model.safetensors" if target.suffix == ".safetensors" else "pytorch_model.bin"
    place = f"{target.parent}" if named else f"FOLDER, named {proper} there"
    return f"{strictly}, and from_pretrained({place}) with the config.json of these sizes beside it"


def check_target(source: str, target: Path, suffixes: Sequence[str]) -> None:
    """Before a long load: can the result be written there?

    Raises:
        UserError: another ending, the source itself, a folder.
    """
    if target.suffix not in suffixes:
        raise UserError(f"{target} should end in {' or '.join(suffixes)}")
    if target.is_dir():
        raise UserError(f"{target} is a folder; give the name of a file to write")
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UserError(f"{target} is the source itself; give another name")


def load_quietly(options: argparse.Namespace) -> nn.Module:
    """The model that a person named, in the asked dtype."""
    dtype = None if options.dtype == "keep" else getattr(torch, options.dtype)
    return load(options.source, dtype=dtype, **options.tell)


@contextlib.contextmanager
def writing(target: Path, model: nn.Module) -> Iterator[None]:
    """On a terminal, a line that says what takes so long while a large file is written; it vanishes afterwards."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    words = printable(f"writing {target.name}, {total / 1e6:,.0f} MB ...", sys.stderr)
    shown = total > 100_000_000 and sys.stderr.isatty()
    if shown:
        print(f"\r{words}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(f"\r{' ' * len(words)}\r", end="", file=sys.stderr, flush=True)


def described(model: nn.Module, path: Path) -> str:
    """Parameters, dtype and size on disk."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    dtypes = {str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters()}
    return f"{parameters:,} parameters, {', '.join(sorted(dtypes))}, {path.stat().st_size / 1e6:,.1f} MB"


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """--dtype for files."""
    text = "of the numbers in the new file (default: the checkpoint's; float32 where it mixes several)"
    parser.add_argument("--dtype", choices=("keep", *DTYPES), default="keep", help=text)


def add_tell(parser: argparse.ArgumentParser) -> None:
    """--tell, for what shapes cannot tell."""
    keys = ", ".join(dict.fromkeys(key for system in SYSTEMS.values() for key in system.told))
    text = f"what neither shapes nor a config tell ({keys}); may be repeated"
    parser.add_argument("--tell", metavar="KEY=VALUE", action=Tell, default={}, help=text)


class Tell(argparse.Action):
    """--tell KEY=VALUE: the value is JSON (false, 1e-6, [224, 224]), or else text."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        key, equals, text = str(values).partition("=")
        if not equals or not key:
            parser.error(f"--tell wants KEY=VALUE, for instance quick_gelu=false, not {values!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), key: value})


# verify


def add_verify(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="prove a model equal to the library's, block by block",
        description="Run our model and the library's on the same inputs in float64 and compare everything.",
        epilog="""
A system (vit, clip) is verified at a tiny size with every parameter redrawn, in seconds. An official name is verified
at its full size: with its own weights where they have been fetched, with random ones of the same shapes elsewhere; that
takes minutes and several gigabytes of memory. A file of your own (fine-tuned, converted, exported) is verified with its
own weights, beside the library's model built with the sizes that were read from it, or, with --against, beside the
library's model of that name. The exit code is 1 where something differs.

examples:
  python -m checkpoints_convert verify finetuned.pth
  python -m checkpoints_convert verify finetuned.pth --against timm:vit_small_patch16_224
  python -m checkpoints_convert verify clip.safetensors --against open_clip:ViT-B-32-quickgelu
  python -m checkpoints_convert verify clip
  python -m checkpoints_convert verify openai/clip-vit-base-patch32
  python -m checkpoints_convert verify openai/clip-vit-base-patch32 --size tiny --json
""",
    )
    parser.add_argument("name", metavar="NAME|FILE", help="a system, an official name, a file or an embedded model")
    against = f"the library's model of that name ({', '.join(LIBRARIES)}); transformers also takes a folder"
    parser.add_argument("--against", metavar="LIBRARY:NAME", default="", help=against)
    add_tell(parser)
    parser.add_argument(
        "--size", choices=("tiny", "full"), help="default: tiny for a system, full for an official name"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda; mps has no float64")
    parser.add_argument("--seed", type=seed, default=0, help="of the random weights and inputs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_verify)


def run_verify(options: argparse.Namespace) -> int:
    """Compare and print the tables."""
    from checkpoints_convert.proof.own import verify_source  # the libraries come with these
    from checkpoints_convert.proof.verify import verify

    device = check_device(options.device, "float64")
    if options.against or Path(options.name).exists() or options.name in embedded.names():
        if options.size:
            raise UserError("--size is for systems and official names; a file is verified at its own size")
        source = open_source(options.name)
        source.told |= options.tell
        report = verify_source(source, options.against, device=device, seed=options.seed)
    elif options.tell:
        raise UserError("--tell is for files; a system and an official name say themselves what they are")
    else:
        report = verify(options.name, options.size, device=device, seed=options.seed)
    print(json.dumps(report.to_json(), indent=1) if options.json else report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
