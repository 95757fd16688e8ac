"""Tiny CLIPS learns from web captions and synthetic ones: `python -m lessons.train clips`.

Liu et al. 2024. Beside each picture stand two texts: the short, noisy caption of the web and a piece of a
long synthetic one. The loss is the mean of CLIP's loss over both. The paper's caption decoder, which writes the long
caption from the picture and the short one, is left out: it helps in training alone, and nobody published its weights.
Against it stands `python -m lessons.train clip --captions web`: the same pictures, the web captions alone.
"""

from collections import Counter
from functools import cache
from typing import Any

from lessons.stickers import exams, two_captions
from lessons.stickers.exams import Pairs
from lessons.stickers.splits import TRAIN
from lessons.train.clip import trainer as clip
from minimodels.clips import CLIPS
from minimodels.pixels.preprocess_tensor import SquashPreprocess
from minimodels.words.word_piece import CONTINUES, SPECIALS, normalize_words, split_punctuation
from minimodels.words.word_rows import WordRows

NUMBERS: dict[str, Any] = {name: value for name, value in clip.NUMBERS.items() if name != "quick_gelu"} | {
    "vision_mlp_dim": 4 * clip.NUMBERS["vision_width"],
    "text_mlp_dim": 4 * clip.NUMBERS["text_width"],
    "norm_eps": 1e-6,
    "tanh_gelu": True,
}
MARKS = ("[unused0]", "[unused1]")  # rows 1 and 2: CLIPS frames a text with them
SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789.,_"  # of these any word can be put together
OFTEN = 20  # a word that comes so often has a piece of its own


def two_views(first: int, scenes: list) -> list[list[str]]:
    """Of scenes from number `first` on: their web captions, and a piece of each one's synthetic caption."""
    dice = [two_captions.words_dice(TRAIN, first + number) for number in range(len(scenes))]
    web = [two_captions.web_caption(one, scene) for one, scene in zip(dice, scenes)]
    long = [two_captions.synthetic_caption(one, scene) for one, scene in zip(dice, scenes)]
    return [web, [two_captions.sub_caption(one, sentences) for one, sentences in zip(dice, long)]]


@cache
def learn_tokenizer() -> WordRows:
    """A WordPiece vocabulary: the frequent words of both kinds of captions, and letters for all others."""
    scenes, _ = exams.training_captions(clip.LEARNED_FROM, single_share=0.1)
    texts = [text for view in two_views(clip.LEARNED_FROM.start, scenes) for text in view]
    cleaned = (normalize_words(text, lowercase=True, strip_accents=True) for text in texts)
    counts = Counter(word for text in cleaned for word in split_punctuation(text))
    words = {word for word, count in counts.items() if count >= OFTEN} | set(SIGNS)
    pad, *others = SPECIALS
    vocabulary = [pad, *MARKS, *others, *sorted(words), *(CONTINUES + sign for sign in SIGNS)]
    return WordRows(vocabulary, context_length=clip.CONTEXT, frame="clips")


class Trainer(clip.Trainer):
    """Scenes with two texts each."""

    STEPS = 1000
    OPTIONS: dict[str, dict[str, Any]] = {}

    def prepare(self) -> None:
        """The model, and how it reads pictures and texts."""
        self.preprocess = SquashPreprocess(NUMBERS["image_size"])
        self.tokenizer = learn_tokenizer()
        self.numbers = NUMBERS | {"vocab_size": self.tokenizer.vocab_size}
        self.model = CLIPS(**self.numbers).to(self.device)

    def views(self, number: int, scenes: Pairs) -> list[list[str]]:
        """The web caption and a piece of the synthetic one."""
        return two_views(self.scenes(number).start, scenes.scenes)

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return super().describe() | {"system": "clips", "class": "CLIPS"}

    def describe_words(self) -> dict[str, Any]:
        """The tokenizer's part of it."""
        words = {"vocabulary": self.tokenizer.words.vocabulary, "frame": self.tokenizer.frame}
        return {"kind": "word_rows", **words, "context_length": self.tokenizer.context_length}
