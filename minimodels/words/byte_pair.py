"""Text to numbers, from scratch: CLIP's byte-level byte pair encoding, BPE (lesson 3.1).

Sennrich, Haddow, Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", algorithm 1, on bytes as in
Radford et al. 2019 (GPT-2), section 2.2. Cleaning, split pattern and vocabulary order follow the released CLIP
(Radford et al. 2021).

A text takes five steps: it is cleaned; it is split into words; each word becomes one visible symbol a byte, the
last one marked `</w>`; neighbouring symbols are merged, the earliest learned merge first, until no known pair is left;
each symbol is looked up.

Notation: T texts, context_length ids in a row. A symbol is a piece of a word ("ph", "oto</w>"), an id is its row in the
vocabulary.
"""

import gzip
import hashlib
import html
import importlib.util
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import ftfy
import regex
import torch
from jaxtyping import Int
from torch import Tensor

from minimodels.errors import UserError

# The first that fits: 's 't 're ..., a run of letters, a single digit, a run of other characters that are not spaces.
WORD_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
END_OF_WORD = "</w>"

CLIP_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
CLIP_MERGES_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
CLIP_NUM_MERGES = 49152 - 256 - 2  # OpenAI's own sum: 48,894 of the 262,144 merges in the file are used

MAX_CACHED_WORDS = 100_000


def repair_text(text: str) -> str:
    """Repair wrongly decoded text, resolve html entities (twice: "&amp;amp;"), collapse white space."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def clean_text(text: str) -> str:
    """The same, in lower case."""
    return repair_text(text).lower()


def split_words(text: str, special_tokens: Sequence[str] = ()) -> list[str]:
    """Split cleaned text: special tokens, contractions, runs of letters, single digits, runs of other characters."""
    pattern = "|".join([*map(regex.escape, special_tokens), WORD_PATTERN])
    return regex.findall(pattern, text, flags=regex.IGNORECASE)


@cache
def byte_symbols() -> tuple[str, ...]:
    """One visible character for each byte value: itself where it can be printed, else the next from U+0100 on.

    No symbol is a space or a control character, so merges can be written as plain text.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte) if byte in printable else chr(256 + hidden.index(byte)) for byte in range(256))


def word_symbols(word: str) -> list[str]:
    """Write a word as one symbol a UTF-8 byte; the last symbol carries the end-of-word mark: "cat" -> c, a, t</w>."""
    symbols = [byte_symbols()[byte] for byte in word.encode("utf-8")]
    return [*symbols[:-1], symbols[-1] + END_OF_WORD]


def merge_pair(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Join each occurrence of `pair`, from left to right: merging (a, a) in a a a gives aa a."""
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def learn_merges(texts: Iterable[str], num_merges: int) -> list[tuple[str, str]]:
    """Learn merges from texts: again and again, the pair of neighbours that occurs most often becomes one symbol.

    Equal counts go to the pair that sorts first, so the same texts give the same merges in any order. Returns fewer
    than `num_merges` when each word has become a single symbol. Sennrich et al. 2016, algorithm 1.
    """
    counts = Counter(word for text in texts for word in split_words(clean_text(text)))
    words = {word: word_symbols(word) for word in counts}
    merges: list[tuple[str, str]] = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        words = {word: merge_pair(symbols, best) for word, symbols in words.items()}
        merges.append(best)
    return merges


def merges_to_text(merges: Iterable[tuple[str, str]]) -> str:
    """Write merges as plain text, one "left right" a line, the earliest learned first."""
    return "".join(f"{left} {right}\n" for left, right in merges)


def merges_from_text(text: str) -> list[tuple[str, str]]:
    """Read what `merges_to_text` wrote. Raises UserError with the number of the first line that is not two symbols."""
    merges = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        match line.split(" "):
            case [left, right] if left and right:
                merges.append((left, right))
            case _:
                raise UserError(
                    f"line {number} of the merges is {line[:60]!r}, expected two symbols with a space between"
                )
    return merges


def find_clip_merges() -> Path:
    """Find CLIP's merges file inside the installed package open_clip_torch, without importing that package."""
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / CLIP_MERGES_FILE).is_file():
            return Path(folder) / CLIP_MERGES_FILE
    raise UserError(f"CLIP's merges file {CLIP_MERGES_FILE} was not found; it comes with: pip install open_clip_torch")


@cache
def clip_merges(path: Path | None = None) -> tuple[tuple[str, str], ...]:
    """Read the 48,894 merges that CLIP uses. Raises UserError when the file is missing or its sha256 is another."""
    path = path or find_clip_merges()
    repair = "Install it again: pip install --force-reinstall --no-deps open_clip_torch"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}. {repair}") from error
    if hashlib.sha256(content).hexdigest() != CLIP_MERGES_SHA256:
        raise UserError(f"{path} is not CLIP's merges file: its sha256 is another. {repair}")
    lines = gzip.decompress(content).decode("utf-8").split("\n")
    return tuple(merges_from_text("\n".join(lines[1 : CLIP_NUM_MERGES + 1])))  # the first line is a version comment


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Raise UserError for an id that a vocabulary of that size does not have."""
    if outside := [id for id in ids if not 0 <= id < vocab_size]:
        raise UserError(f"id {outside[0]} is outside this vocabulary of {vocab_size}: made by another tokenizer?")


def too_long(text: str, length: int, limit: int) -> UserError:
    """What to say of a text that needs more ids than a row has."""
    short = text if len(text) <= 40 else f"{text[:37]}..."
    return UserError(f"{short!r} takes {length} ids, the limit is {limit}: shorten it or pass truncate=True")


class BytePairTokenizer:
    """Byte-level BPE as CLIP uses it: texts in, rows of ids out, padded with 0.

    The vocabulary in order: 256 byte symbols, the same 256 ending in `</w>`, one symbol a merge, start of text, end
    of text. No text is unknown, what no merge covers stays bytes; the released pattern loses one character alone, the
    Greek iota subscript U+0345. A special token written inside a text becomes its id, as in the released CLIP
    (open_clip 3.3 spells the two <start_of_text> and <end_of_text>).
    """

    SPARE_ROWS = False  # the last two ids are the start and the end of a text: a table of another size means others
    taken = 2  # ids of a row that frame the text

    def __init__(
        self,
        merges: Iterable[tuple[str, str]],
        context_length: int = 77,
        special_tokens: tuple[str, str] = ("<|startoftext|>", "<|endoftext|>"),
    ) -> None:
        self.merges = [(left, right) for left, right in merges]
        self.context_length = context_length
        self.special_tokens = special_tokens
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        symbols = sorted(byte_symbols())  # the printable bytes come first
        marked = [symbol + END_OF_WORD for symbol in symbols]
        self.vocabulary = [*symbols, *marked, *map("".join, self.merges), *special_tokens]
        self.ids = {symbol: id for id, symbol in enumerate(self.vocabulary)}
        self.vocab_size = len(self.vocabulary)
        self.start, self.end = self.vocab_size - 2, self.vocab_size - 1
        self.cache: dict[str, list[int]] = {}

    @classmethod
    def clip(cls, context_length: int = 77) -> "BytePairTokenizer":
        """Build the tokenizer of all released CLIP models: 49,408 ids. Raises UserError without open_clip_torch."""
        return cls(clip_merges(), context_length)

    def merge_word(self, word: str) -> list[str]:
        """Merge a word's symbols until no known pair is left, the earliest learned first: "photos" -> photos</w>."""
        symbols = word_symbols(word)
        while len(symbols) > 1:
            pair = min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, math.inf))
            if pair not in self.ranks:
                break
            symbols = merge_pair(symbols, pair)
        return symbols

    def word_ids(self, word: str) -> list[int]:
        """The ids of one word, remembered: the words of captions come again and again."""
        if word in self.special_tokens:
            return [self.start + self.special_tokens.index(word)]
        if word not in self.cache:
            if len(self.cache) >= MAX_CACHED_WORDS:
                self.cache.clear()
            self.cache[word] = [self.ids[symbol] for symbol in self.merge_word(word)]
        return self.cache[word]

    def encode(self, text: str) -> list[int]:
        """The ids of a whole text, without start and end of text and without a limit."""
        return [id for word in split_words(clean_text(text), self.special_tokens) for id in self.word_ids(word)]

    def decode(self, ids: Iterable[int] | Int[Tensor, "ids"]) -> str:
        """The text of ids: lower case, a space after each word. Bytes that are no UTF-8 become U+FFFD.

        Raises UserError for an id outside the vocabulary.
        """
        ids = [int(id) for id in ids]
        check_ids(ids, self.vocab_size)
        value = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
        content = bytes(value[character] for id in ids for character in self.vocabulary[id])
        return content.decode("utf-8", errors="replace").replace(END_OF_WORD, " ")

    def __call__(
        self, texts: str | Sequence[str], context_length: int | None = None, truncate: bool = False
    ) -> Int[Tensor, "texts context"]:
        """Rows of ids, int64: start of text, the text, end of text, then zeros up to `context_length`.

        Raises:
            UserError: a text needs more ids and `truncate` is off. With it the row is cut, its last id is end of text.
        """
        texts = [texts] if isinstance(texts, str) else texts
        length = self.context_length if context_length is None else context_length
        if length < 2:
            raise UserError(f"context_length is {length}, expected at least 2: start and end of text")
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.start, *self.encode(text)]
            if len(ids) >= length and not truncate:
                raise too_long(text, len(ids) + 1, length)
            ids = [*ids[: length - 1], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return rows


# ---------------------------------------------------------------- WordPiece: BERT's words (lesson 2.7)


KINDS = {"clip": BytePairTokenizer.clip, "bpe": BytePairTokenizer}  # how a stored model names its tokenizer
