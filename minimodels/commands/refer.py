"""What `segment` does with a LAVT: sentences that mean one thing among others, "the cat on the left" (lesson 4.4)."""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from minimodels.errors import UserError
from minimodels.lavt import LAVT
from minimodels.terminal import door
from minimodels.terminal.printing import notice
from minimodels.words.word_piece import WordPieceTokenizer


def check_options(options: argparse.Namespace) -> None:
    """LAVT reads sentences and nothing else.

    Raises:
        UserError: a prompt picture was given.
    """
    if options.prompt_image:
        raise UserError(
            f"{options.model} is a LAVT, which is asked by sentences only; --prompt-image needs a CLIPSeg, for "
            "instance --model tiny-clipseg"
        )


def check_words(texts: Sequence[str], tokenize: WordPieceTokenizer) -> None:
    """A notice for each sentence with words that are not in the vocabulary: the model cannot hear them."""
    for text in texts:
        unknown = [word for word in text.split() if "[UNK]" in tokenize.pieces(word) and word != "[UNK]"]
        if unknown:
            notice(f"'{text[:40]}': the model does not know {', '.join(unknown)[:60]}, and answers to the other words")


@torch.no_grad()
def find(
    model: LAVT, image: Image.Image, options: argparse.Namespace
) -> tuple[list[str], Float[Tensor, "sentences height width"]]:
    """The sentences, and for each pixel of the picture the logit of belonging to what each of them means.

    Above 0 the referent outweighs the background: the argmax of the two channels.

    Raises:
        UserError: an empty sentence, a prompt picture, a model without its vocabulary.
    """
    check_options(options)
    tokenize: Any = getattr(model, "tokenize", None)
    if tokenize is None:
        raise UserError(
            f"{options.model} came without its vocabulary, which official files leave out: put bert-base-uncased's "
            "vocab.txt beside it, or run `python -m checkpoints_convert fetch google-bert/bert-base-uncased` once"
        )
    texts = door.check_texts(options.texts, "sentence", model)
    check_words(texts, tokenize)
    ids, mask = (part.to(options.device) for part in tokenize(texts, truncate=True))
    pixels = model.preprocess(image)[None].to(ids.device, model.head.weight.dtype)  # type: ignore[operator]
    logits = [  # one after the other: each is a pass through the whole model
        model(pixels, ids[n : n + 1], mask[n : n + 1])[0].float().cpu() for n in range(len(texts))
    ]
    surer = torch.stack([one[1] - one[0] for one in logits])  # (T, S, S)
    size = (image.height, image.width)
    return texts, F.interpolate(surer[None], size, mode="bilinear", align_corners=False)[0]
