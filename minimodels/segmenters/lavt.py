"""LAVT: sentences that mean one thing among others, "the cat on the left" (lesson 4.4)."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from minimodels.errors import UserError
from minimodels.lavt import LAVT
from minimodels.segmenters import Answer, Kind, Prompts, Segmenter, read_pixels, to_picture_size
from minimodels.terminal import door
from minimodels.terminal.printing import notice
from minimodels.words.word_piece import WordPieceTokenizer


@torch.no_grad()
def segment(model: LAVT, picture: Image.Image, prompts: Prompts) -> Answer:
    """For each pixel the logit of belonging to what each sentence means.

    Above 0 the referent outweighs the background: the argmax of the two channels.

    Raises:
        UserError: an empty sentence, a model without its vocabulary.
    """
    tokenize: Any = getattr(model, "tokenize", None)
    if tokenize is None:
        raise UserError(
            "this LAVT came without its vocabulary, which official files leave out: put bert-base-uncased's "
            "vocab.txt beside it, or run `python -m checkpoints_convert fetch google-bert/bert-base-uncased` once"
        )
    texts = door.check_texts(prompts.texts, "sentence", model)
    check_words(texts, tokenize)
    pixels = read_pixels(model, picture)
    ids, mask = (part.to(pixels.device) for part in tokenize(texts, truncate=True))
    logits = [  # one after the other: each is a pass through the whole model
        model(pixels, ids[n : n + 1], mask[n : n + 1])[0] for n in range(len(texts))
    ]
    return Answer(texts, to_picture_size(torch.stack([one[1] - one[0] for one in logits]), picture))  # (T, S, S)


def check_words(texts: Sequence[str], tokenize: WordPieceTokenizer) -> None:
    """A notice for each sentence with words that are not in the vocabulary: the model cannot hear them."""
    for text in texts:
        unknown = [word for word in text.split() if "[UNK]" in tokenize.pieces(word) and word != "[UNK]"]
        if unknown:
            notice(f"'{text[:40]}': the model does not know {', '.join(unknown)[:60]}, and answers to the other words")


SEGMENTER = Segmenter(model=LAVT, takes={Kind.TEXTS: "sentences"}, segment=segment, embedded="tiny-lavt")
