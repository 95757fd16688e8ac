"""What a table file says of the official checkpoints: its `ENTRIES`, that `fetching/hub.py` can fetch.

Where the numbers come from: OpenAI's sha256 are part of its loader's addresses; revisions, sizes and sha256 of the
Hugging Face files are those that public projects pin for the same revision, compared with each other where several
do. A hash or size that no source gives is None; the hash is then recorded at the first download, and later downloads
are compared with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOKENIZER_FILES = ("merges.txt", "vocab.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class File:
    """One file of a checkpoint.

    Args:
        name: in the repository or the folder.
        size: bytes; None where no source gives them.
        sha256: None where no source gives it.
        optional: may be missing (tokenizer files, which we do not read).
        about: bytes of the tensors in it, counted from the model's shapes where the file's size is not known.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    optional: bool = False
    about: int | None = None


@dataclass(frozen=True)
class Entry:
    """One official checkpoint.

    Args:
        name: what a user types.
        system, format: how its names are read, as in `build(tensors, system, format=format)`.
        licence: of the weights.
        files: the weights first.
        repo, revision: on the Hugging Face hub; None for a file with an address of its own.
        told: what its shapes cannot tell, as in `build(..., **told)`.
        note: one line for the list.
        url: address of a file that is neither in a repository nor one of OpenAI's.
        clip: official name of the CLIP that the file lacks (CLIPSeg's own files hold the decoder alone).
        aliases: other names that people type.
    """

    name: str
    system: str
    format: str
    licence: str
    files: tuple[File, ...]
    repo: str | None = None
    revision: str = "main"
    told: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    url: str | None = None
    clip: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def weights(self) -> File:
        """The file with the tensors."""
        return self.files[0]
