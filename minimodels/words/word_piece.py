"""Text to numbers, from scratch: WordPiece, BERT's words (lesson 2.7).

Follows the released BERT (Devlin et al. 2019) as Hugging Face's tokenizers read it. A text is cleaned and lowered, then
split at spaces and punctuation; of each word the longest piece that the vocabulary has is cut off, again and again.

Notation: T texts, N ids in a row.
"""

import string
import unicodedata
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import regex
import torch
from jaxtyping import Int
from torch import Tensor

from minimodels.errors import UserError
from minimodels.words.byte_pair import MAX_CACHED_WORDS, check_ids, too_long

PAD, UNKNOWN, CLASS, SEPARATOR, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"  # marks a piece that does not begin its word
MAX_WORD_LENGTH = 100  # characters; a longer word is unknown
# The tables of the reference (Hugging Face tokenizers 0.23) are those of Unicode 8.0, from 2015. Signs, marks and
# format characters that came later have no class in them: they are neither removed nor split off. Measured.
NEWER = """
5C8-5C9 61D 7FD 890-8E2 9FD-9FE A76 AFA-AFF B53-B55 C04-C3C C77 C84 D00 D3B-D3C D81 EBA ECE 180F-1886 1ABF-1AF0
1B4E-1B4F 1B7D-1B7F 1DF6-1DFB 2E43-2E63 A82C A8C5 A8FF A9BD 10D24-10F89 11070-11074 110C2-110CD 111C9 111CF
1123E-11241 1133B 113BB-1145E 11660-1166C 116B9 1182F-11FFF 12FF1-1612F 16D6D-16F4F 16FE2-16FE4 1CF00-1D128
1D25B-1D25C 1E000-1E6F5 1E944-1E95F"""
IS_NEWER = regex.compile("[" + "".join(regex.sub(r"\w+", lambda code: chr(int(code[0], 16)), NEWER).split()) + "]")
ALSO_PUNCTUATION, ALSO_MARKS = "\u166d\U000111c9", "\u1734\U0001171e"  # another class then than now
CHINESE = regex.compile(  # the reference has 2B920 where Google's code has 2B820
    r"([\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0002A6DF\U0002A700-\U0002B81F"
    r"\U0002B920-\U0002CEAF\U0002F800-\U0002FA1F])"
)


@lru_cache(MAX_CACHED_WORDS)
def unicode_class(character: str) -> str:
    """The two letters of a character's class in Unicode 8.0: "Lu" A, "Mn" an accent alone, "Po" !, "Cn" unknown."""
    if character in string.punctuation or character in ALSO_PUNCTUATION:
        return "Po"  # for BERT $ + < = > ^ ` | ~ are punctuation as well
    if character in ALSO_MARKS:
        return "Mn"
    return "Cn" if IS_NEWER.match(character) else unicodedata.category(character)


def normalize_words(text: str, *, lowercase: bool, strip_accents: bool) -> str:
    """Clean a text as BERT does: no control characters, one kind of space, accents and case away (or kept).

    Control and format characters, lone surrogates and U+FFFD vanish: a soft hyphen or a joiner splits no word. A
    letter is lowered without its neighbours (the Greek sigma at a word's end too).
    """
    text = "".join(
        " " if c in "\t\n\r" else "" if c == "\ufffd" or unicode_class(c) in {"Cc", "Cf", "Co", "Cs"} else c
        for c in text
    )
    text = CHINESE.sub(r" \1 ", text)  # each Chinese character is a word
    if strip_accents:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicode_class(c) != "Mn")
    return "".join(c.lower() for c in text) if lowercase else text


def split_punctuation(text: str) -> list[str]:
    """Split at white space, which is lost, and around each punctuation mark, which is a word: don't -> don ' t."""
    return "".join(f" {c} " if unicode_class(c).startswith("P") else c for c in text).split()


def longest_match(word: str, vocabulary: Container[str]) -> list[str]:
    """Cut a word into the longest pieces of the vocabulary, from left to right: playing -> play ##ing.

    Every piece but the first carries `##`. The word is unknown as a whole when one of its pieces is, or when it is
    longer than 100 characters. Wu et al. 2016, "Google's Neural Machine Translation System", section 4.1.
    """
    pieces: list[str] = []
    start = 0
    while start < len(word) <= MAX_WORD_LENGTH:
        mark = CONTINUES if pieces else ""
        ends = (end for end in range(len(word), start, -1) if mark + word[start:end] in vocabulary)
        if (end := next(ends, None)) is None:
            return [UNKNOWN]
        pieces.append(mark + word[start:end])
        start = end
    return pieces or [UNKNOWN]


def read_vocabulary(path: str | Path) -> list[str]:
    """The pieces of a vocab.txt, one a line; a piece's id is its line, counted from 0.

    Raises:
        UserError: the file cannot be read, or is no BERT vocabulary.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8").replace("\r\n", "\n")
        vocabulary = text.removesuffix("\n").split("\n")
        check_vocabulary(vocabulary)
    except (OSError, ValueError) as error:  # not there; not UTF-8; not a vocabulary
        raise UserError(f"{path} cannot be used as a vocabulary: {error}") from error
    return vocabulary


def check_vocabulary(vocabulary: Sequence[str]) -> None:
    """Raise UserError unless the four pieces are there that no BERT can do without, and nothing that no text holds."""
    for line, piece in enumerate(vocabulary, start=1):
        if any(unicodedata.category(letter) == "Cc" for letter in piece):
            raise UserError(f"piece {line} of the vocabulary, {piece!r}, holds a control character; fetch it again")
    if missing := [special for special in SPECIALS[:-1] if special not in vocabulary]:
        raise UserError(
            f"a BERT vocabulary has one piece a line, {' '.join(SPECIALS[:-1])} among them; "
            f"these {len(vocabulary)} lines lack {' '.join(missing)}"
        )


def learn_words(texts: Iterable[str]) -> list[str]:
    """A vocabulary of whole words for a tiny model: the special pieces, then every word of the texts, sorted."""
    words = {
        word for text in texts for word in split_punctuation(normalize_words(text, lowercase=True, strip_accents=True))
    }
    return [*SPECIALS, *sorted(words)]


class WordPieceTokenizer:
    """BERT's tokenizer: texts in, rows of ids and their padding masks out. Equal to transformers' BertTokenizer.

    A special piece written inside a text ("[SEP]", in capitals) becomes its id, as there.

    Args:
        vocabulary: the pieces in the order of their ids (`read_vocabulary(path)`, `learn_words(texts)`).
        lowercase: an uncased model: lower case, accents away.
        strip_accents: whether accents go; None as `lowercase` says.
        context_length: the most ids a row can have: 512 in BERT, 20 in LAVT.
        keep_end: a row that is cut ends with [SEP]. LAVT cuts the finished list instead and loses it: False.

    Raises:
        UserError: the vocabulary lacks [PAD], [UNK], [CLS] or [SEP].
    """

    SPARE_ROWS = True  # BERT's table may have rows that no piece means
    taken = 2  # ids of a row that frame the text

    def __init__(
        self,
        vocabulary: Iterable[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
        context_length: int = 512,
        keep_end: bool = True,
    ) -> None:
        self.vocabulary = list(vocabulary)
        check_vocabulary(self.vocabulary)
        self.lowercase, self.context_length, self.keep_end = lowercase, context_length, keep_end
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.ids = {piece: id for id, piece in enumerate(self.vocabulary)}  # of a piece given twice, the last counts
        self.vocab_size = len(self.vocabulary)
        self.start, self.end, self.pad = self.ids[CLASS], self.ids[SEPARATOR], self.ids[PAD]
        self.specials = [special for special in SPECIALS if special in self.ids]
        self.cache: dict[str, list[str]] = {}

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text, without [CLS] and [SEP] around it: "a cat's" -> a, cat, ', s."""
        pieces: list[str] = []
        for part in regex.split(f"({'|'.join(map(regex.escape, self.specials))})", text):
            if part in self.specials:
                pieces.append(part)
                continue
            for word in split_punctuation(
                normalize_words(part, lowercase=self.lowercase, strip_accents=self.strip_accents)
            ):
                pieces += self.word_pieces(word)
        return pieces

    def word_pieces(self, word: str) -> list[str]:
        """The pieces of one word, remembered: the words of captions come again and again."""
        if word not in self.cache:
            if len(self.cache) >= MAX_CACHED_WORDS:
                self.cache.clear()
            self.cache[word] = longest_match(word, self.ids)
        return self.cache[word]

    def encode(self, text: str) -> list[int]:
        """The ids of a whole text, without [CLS] and [SEP] and without a limit."""
        return [self.ids[piece] for piece in self.pieces(text)]

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Ids and token types of two texts in one row: [CLS] first [SEP] of type 0, second [SEP] of type 1."""
        left, right = [self.start, *self.encode(first), self.end], [*self.encode(second), self.end]
        return left + right, [0] * len(left) + [1] * len(right)

    def decode(self, ids: Iterable[int] | Int[Tensor, "ids"]) -> str:
        """The text of ids, a space between words and around punctuation. Raises UserError for an id outside."""
        ids = [int(id) for id in ids]
        check_ids(ids, self.vocab_size)
        return " ".join(self.vocabulary[id] for id in ids).replace(f" {CONTINUES}", "")

    def __call__(
        self, texts: str | Sequence[str], context_length: int | None = None, truncate: bool = False
    ) -> tuple[Int[Tensor, "texts context"], Int[Tensor, "texts context"]]:
        """Rows of ids, [CLS] text [SEP] and then [PAD], and a mask that is 1 on all but the padding; both int64.

        Rows are as long as the longest of these texts, or `context_length` where it is given.

        Raises:
            UserError: a text needs more ids than the limit and `truncate` is off. With it the row is cut.
        """
        texts = [texts] if isinstance(texts, str) else texts
        limit = self.context_length if context_length is None else context_length
        if limit < 2:
            raise UserError(f"context_length is {limit}, expected at least 2: {CLASS} and {SEPARATOR}")
        rows = [[self.start, *self.encode(text), self.end] for text in texts]
        for at, (text, row) in enumerate(zip(texts, rows, strict=True)):
            if len(row) > limit:
                if not truncate:
                    raise too_long(text, len(row), limit)
                rows[at] = [*row[: limit - 1], self.end] if self.keep_end else row[:limit]
        length = max(map(len, rows), default=0) if context_length is None else context_length
        ids = torch.tensor([row + [self.pad] * (length - len(row)) for row in rows], dtype=torch.long)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], dtype=torch.long)
        return ids.reshape(len(rows), length), mask.reshape(len(rows), length)


KINDS = {"wordpiece": WordPieceTokenizer}  # how a stored model names its tokenizer
