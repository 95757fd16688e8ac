"""Where the official checkpoints live, and how they come here: once, checked, and found again without a network.

    entry = find("openai/clip-vit-base-patch32")     # or "ViT-B/32", as OpenAI's own loader calls it
    fetch(entry)                                     # [weights, config.json, ...]; from the network only when needed

Hugging Face repositories come through huggingface_hub into its own cache (HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE
hold); files with an address of their own through `download.py` into `HF_HOME/pixels-and-prompts`. Files placed there
by hand, in the folder that `by_hand(entry)` names, are found first. Every file of weights is compared with its sha256
once; where no source gives one, the first download's is recorded in `hashes.json` there, and later ones are compared
with it.
"""

import contextlib
import difflib
import json
import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from checkpoints_convert.fetching.download import Unreachable, check, download, sha256_of
from checkpoints_convert.tables import entries
from checkpoints_convert.tables.catalogue import Entry, File
from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.errors.untrusted import Settings, read_json

OPENAI = "https://openaipublic.azureedge.net/clip/models"  # PIXELS_OPENAI_URL names a mirror
ALTERNATIVES = ("model.safetensors", "pytorch_model.bin")  # a repository's weights by hand: either of them
REFUSED = (13, 28, 30, 122)  # error numbers: no permission, no space left, read-only, over quota
HASH = re.compile(r"[0-9a-f]{64}")


def find(name: str) -> Entry:
    """The entry of that name; case does not matter, nor does "openai/" before the names of OpenAI's archives.

    Raises:
        UserError: there is none; the message names the closest ones.
    """
    known = {alias.lower(): entry for entry in entries() for alias in _aliases(entry)}
    if entry := known.get(name.lower()):
        return entry
    close = difflib.get_close_matches(name.lower(), known, n=6, cutoff=0.55)
    names = list(dict.fromkeys(known[alias].name for alias in close))[:3]
    hint = f"did you mean {' or '.join(names)}?" if names else "see `python -m checkpoints_convert list`"
    raise UserError(f"there is neither a file nor an official checkpoint {name!r}; {hint}")


def _aliases(entry: Entry) -> list[str]:
    if entry.repo is not None:
        return [entry.name, *entry.aliases]
    if entry.url is not None:
        return [entry.name, entry.weights.name, *entry.aliases]
    return [
        *entry.aliases,
        entry.name,
        f"openai/{entry.name}",
        entry.weights.name,
        entry.weights.name.removesuffix(".pt"),
    ]


# Places.


def home() -> Path:
    """Our folder in the Hugging Face cache."""
    return _hf_home() / "pixels-and-prompts"


def _hf_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or f"{cache}/huggingface")).expanduser()


def _hub_cache() -> Path:
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or _hf_home() / "hub"
    return Path(os.path.expandvars(folder)).expanduser()


def by_hand(entry: Entry) -> Path:
    """The folder where a person may place an entry's files; those outside the hub also live there after a download."""
    other = "openai" if entry.url is None else entry.system
    return home() / (entry.repo.replace("/", "--") if entry.repo else other)


def page(entry: Entry) -> str:
    """The web address to fetch it from by hand: a repository's page, or the file itself."""
    if entry.url is not None:
        return entry.url
    if entry.repo is None:
        base = os.environ.get("PIXELS_OPENAI_URL", OPENAI).rstrip("/")
        return f"{base}/{entry.weights.sha256}/{entry.weights.name}"
    return f"{_endpoint()}/{entry.repo}/tree/{entry.revision}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether the environment forbids the network (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    asked = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return asked.upper() in ("1", "ON", "YES", "TRUE") or huggingface_hub.constants.HF_HUB_OFFLINE


# Finding and fetching.


def cached(entry: Entry) -> bool:
    """Whether all its files are on this machine. Nothing is checked."""
    return not _missing(entry)


def is_known(entry: Entry, path: Path) -> bool:
    """Whether a source says what sha256 these weights must have: the catalogue, or the hub, whose cache is named by it.

    Where none does, the first download is recorded, and compared with later ones: a change shows, not who made it.
    """
    by_catalogue = entry.weights.sha256 is not None and path.name == entry.weights.name
    return by_catalogue or HASH.fullmatch(path.resolve().name) is not None


def local_files(entry: Entry) -> list[Path]:
    """Its files on this machine, the weights first, checked; empty when one that is needed is missing.

    Raises:
        UserError: the weights' sha256 is not the official one.
    """
    if _missing(entry):
        return []
    paths = [path for file in entry.files if (path := _locate(entry, file)) is not None]
    _verify(entry, paths[0])
    return paths


def local_file(entry: Entry, name: str) -> Path | None:
    """One of its files beside the weights (a vocabulary), if it is on this machine."""
    return next((path for file in entry.files if file.name == name and (path := _locate(entry, file))), None)


def fetch(entry: Entry, progress: bool = True) -> list[Path]:
    """Its files on this machine, the weights first; what is missing is downloaded.

    Raises:
        UserError: no network, or an error of the server, the disk or the file; the message says what is missing,
            where it can be fetched by hand and where to place it.
    """
    if _missing(entry):
        if is_offline():
            raise UserError(_instructions(entry, "the environment says offline (HF_HUB_OFFLINE)"))
        try:
            if entry.repo is None:
                target = by_hand(entry) / entry.weights.name
                sha256 = entry.weights.sha256
                key = _key(entry, target) if sha256 is None else None
                _remember(target, download(page(entry), target, sha256, progress), key)
            else:
                _fetch_repository(entry, entry.repo, progress)
        except Unreachable as error:
            raise UserError(_instructions(entry, str(error))) from error
    return local_files(entry)


def _missing(entry: Entry) -> list[File]:
    return [file for file in entry.files if not file.optional and _locate(entry, file) is None]


def _locate(entry: Entry, file: File) -> Path | None:
    """One file: placed by hand, in the Hugging Face cache, or in the cache of OpenAI's own loader."""
    names = (file.name, *ALTERNATIVES) if file.name in ALTERNATIVES else (file.name,)
    for name in names:
        if (path := by_hand(entry) / name).is_file():
            return path
    if entry.repo is None:
        path = Path("~/.cache/clip").expanduser() / file.name
        return path if path.is_file() else None
    found = huggingface_hub.try_to_load_from_cache(entry.repo, file.name, _hub_cache(), entry.revision)
    return Path(found) if isinstance(found, str) else None


def _fetch_repository(entry: Entry, repo: str, progress: bool) -> None:
    """All files through huggingface_hub: the small ones first, so that a wrong name shows before a long download."""
    if reason := _no_network():
        raise Unreachable(f"{_endpoint()} cannot be reached ({reason})")
    with _bars(progress):
        for file in sorted(entry.files, key=lambda file: file is entry.weights):
            try:
                found = huggingface_hub.hf_hub_download(
                    repo,
                    file.name,
                    revision=entry.revision,
                    cache_dir=_hub_cache(),
                    endpoint=_endpoint(),
                    library_name="pixels-and-prompts",
                )
            except Exception as error:  # of several libraries below; all end as one sentence
                if file.optional and isinstance(error, EntryNotFoundError):
                    continue
                raise _explained(entry, file, error) from error
    _check_blob(entry, Path(found), progress)


def _no_network() -> str | None:
    """Why no connection opens at all, or None. huggingface_hub would try for half a minute before it says so."""
    if urllib.request.getproxies():  # the way out is theirs to know
        return None
    address = urllib.parse.urlsplit(_endpoint())
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=10).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _check_blob(entry: Entry, path: Path, progress: bool) -> None:
    """The weights just fetched against their hash: the known one, or the one that the hub names its file by."""
    blob = path.resolve()
    told = blob.name if HASH.fullmatch(blob.name) else None
    try:
        found = check(blob, page(entry), entry.weights.sha256 or told, progress)
        _remember(path, found, None if entry.weights.sha256 else _key(entry, path))
    except UserError:
        path.unlink(missing_ok=True)  # the link to the blob that was removed
        raise


def _explained(entry: Entry, file: File, error: Exception) -> UserError:
    """What went wrong, for a person."""
    if isinstance(error, OSError) and error.errno in REFUSED:
        place = f"cannot write the cache {_hub_cache()}: {error.strerror}"
        return UserError(f"{place}. Free some space, or set HF_HOME to another folder")
    if isinstance(error, GatedRepoError):
        return Unreachable(f"{entry.repo} asks for its licence to be accepted: do so on its page, then `hf auth login`")
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
        return Unreachable(f"{_endpoint()} has no {entry.repo} at revision {entry.revision}, or wants a login")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, FileNotFoundError):
        return Unreachable(f"{entry.repo} has no file {file.name} at revision {entry.revision}")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Unreachable(f"{_endpoint()} cannot be reached or breaks off ({lines[0][:160]})")


@contextlib.contextmanager
def _bars(progress: bool) -> Any:
    """huggingface_hub's progress bars, or none."""
    were_disabled = are_progress_bars_disabled()
    if not progress:
        disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def _instructions(entry: Entry, reason: str) -> str:
    """What is missing, where to get it, where to put it: one line."""
    reason = reason.replace(page(entry), "it").rstrip(".")
    missing = ", ".join(
        f"{file.name}{f' ({file.size / 1e6:,.0f} MB)' if file.size else ''}" for file in _missing(entry)
    )
    return (
        f"{entry.name} is not on this machine: {reason}. To place it by hand: fetch {missing} from "
        f"{page(entry)} and put it into {by_hand(entry)}"
    )


# Hashes.


def _verify(entry: Entry, path: Path) -> None:
    """Compare the weights with their sha256, once: a checked file is remembered by its size and time."""
    notes = _notes()
    if notes["checked"].get(str(path)) == _stamp(path):
        return
    wanted = entry.weights.sha256 if path.name == entry.weights.name else None
    if wanted is not None and path.resolve().name == wanted:  # the hub's cache names weights by their hash
        return
    found = sha256_of(path, progress=True)
    first = notes["first_download"].get(_key(entry, path))
    if (wanted or first) not in (None, found):
        source = "the official one" if wanted else f"that of the first download, in {home() / 'hashes.json'}"
        raise UserError(
            f"{path} has sha256 {found}, expected {wanted or first} ({source}): it is damaged or another file. "
            "Remove it and fetch it again"
        )
    _remember(path, found, None if wanted else _key(entry, path))


def _key(entry: Entry, path: Path) -> str:
    """Under what a first download's hash is recorded: the commit, where the path shows it."""
    commit = path.parent.name if path.parent.parent.name == "snapshots" else entry.revision
    return f"{entry.name}@{commit}/{path.name}"


def _stamp(path: Path) -> dict[str, int]:
    about = path.stat()
    return {"size": about.st_size, "time": about.st_mtime_ns}


def _notes() -> dict[str, dict[str, Any]]:
    """What `hashes.json` holds, of the kinds that we write; what is of another kind counts as absent."""
    try:
        found: Mapping[str, Any] = Settings(read_json(home() / "hashes.json"), "hashes.json")
    except UserError:
        found = {}
    checked, first = (
        value if isinstance(value := found.get(key), dict) else {} for key in ("checked", "first_download")
    )
    hashes = {key: value for key, value in first.items() if isinstance(value, str) and HASH.fullmatch(value)}
    return {"checked": checked, "first_download": hashes}


def _remember(path: Path, sha256: str, key: str | None = None) -> None:
    """Note a checked file, and under `key` its hash. Where the cache cannot be written, files are checked each time."""
    notes = _notes()
    notes["checked"][str(path)] = _stamp(path)
    if key is not None:
        notes["first_download"][key] = sha256
    with contextlib.suppress(UserError):
        with write_aside(home() / "hashes.json") as aside:
            aside.write_text(json.dumps(notes, indent=1, sort_keys=True), encoding="utf-8")
