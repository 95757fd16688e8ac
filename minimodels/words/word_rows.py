"""WordPiece rows as CLIP's relatives read them: of one length, ids alone, the text cleaned as CLIP cleans it.

Three ways to frame the same pieces (lesson 3.7), as open_clip has them:

    "clips"      [unused0] pieces [unused1] [PAD] ... [CLS]     CLIPS: the last place is pooled, so a [CLS] stands there
    "no_end"     [CLS] pieces [PAD] [PAD] ...                   a plain tokenizer whose [SEP] is replaced by [PAD]
    "plain"      [CLS] pieces [SEP] [PAD] ...                   BiomedCLIP

Notation: T texts, N ids in a row.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from minimodels.errors import UserError
from minimodels.words.byte_pair import repair_text, too_long
from minimodels.words.word_piece import PAD, SEPARATOR, WordPieceTokenizer

FRAMES = ("clips", "no_end", "plain")
START, END = "[unused0]", "[unused1]"  # CLIPS marks a text by two rows that BERT left free


class WordRows:
    """Texts in, rows of ids out (T, N), int64.

    Args:
        vocabulary, lowercase, strip_accents: see `WordPieceTokenizer`.
        context_length: N, 80 in CLIPS, 256 in BiomedCLIP.
        frame: "clips", "no_end" or "plain".
        repair: clean a text as open_clip does for CLIP (broken characters, HTML) before BERT's own cleaning.

    Raises:
        UserError: another frame, a context without room for a piece, or in the frame "clips" a vocabulary without its
            marks.
    """

    SPARE_ROWS = True  # CLIPS has 32,000 rows for 30,522 pieces

    def __init__(
        self,
        vocabulary: Iterable[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
        context_length: int = 80,
        frame: str = "clips",
        repair: bool = True,
    ) -> None:
        if frame not in FRAMES:
            raise UserError(f"the frame {frame!r} is none; there are: {', '.join(FRAMES)}")
        if context_length < 4:
            raise UserError(f"context_length is {context_length}, expected at least 4: a text and what frames it")
        self.words = WordPieceTokenizer(vocabulary, lowercase, strip_accents, context_length)
        self.context_length, self.frame, self.repair = context_length, frame, repair
        self.vocab_size, self.pad = self.words.vocab_size, self.words.pad
        self.taken = 3 if frame == "clips" else 2  # ids of a row that frame the text
        if frame == "clips" and (lacking := {START, END} - self.words.ids.keys()):
            raise UserError(f"the vocabulary lacks {' and '.join(sorted(lacking))}, with which a CLIPS marks a text")
        ends = {"clips": END, "no_end": PAD, "plain": SEPARATOR}
        self.end = self.words.ids[ends[frame]]  # of a text

    def encode(self, text: str) -> list[int]:
        """The ids of a whole text, cleaned, without a frame and without a limit."""
        return self.words.encode(repair_text(text) if self.repair else text)

    def decode(self, ids: Iterable[int] | Int[Tensor, "ids"]) -> str:
        """See `WordPieceTokenizer.decode`."""
        return self.words.decode(ids)

    def framed(self, pieces: list[int]) -> list[int]:
        """One row without its padding; too many pieces are cut."""
        kept = pieces[: self.context_length - self.taken]
        if self.frame == "clips":
            return [self.words.ids[START], *kept, self.end]  # the last [CLS] follows behind the padding
        row = [self.words.start, *kept, self.words.end]
        if self.frame == "no_end":  # also one that was typed
            return [self.pad if id == self.words.end else id for id in row]
        return row

    def __call__(self, texts: str | Sequence[str], truncate: bool = False) -> Int[Tensor, "texts context"]:
        """Rows of ids. In the frame "clips" the last place is [CLS], whatever the text.

        Raises:
            UserError: a text needs more ids than the context and `truncate` is off. With it the row is cut.
        """
        texts = [texts] if isinstance(texts, str) else texts
        rows = torch.full((len(texts), self.context_length), self.pad)  # (T, N)
        for row, text in zip(rows, texts):
            pieces = self.encode(text)
            if len(pieces) + self.taken > self.context_length and not truncate:
                raise too_long(text, len(pieces) + self.taken, self.context_length)
            framed = self.framed(pieces)
            row[: len(framed)] = torch.tensor(framed)
            if self.frame == "clips":
                row[-1] = self.words.start
        return rows


KINDS = {"word_rows": WordRows}  # how a stored model names its tokenizer
