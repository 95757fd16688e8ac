"""Two captions of one scene: what stands beside a picture on the web, and what a model writes that describes it.

The first is short, leaves things out, is wrong now and then and carries what has nothing to do with the picture. The
second is long and complete. CLIPS (Liu et al. 2024) learns from both, and of the long one from a piece at a time.
"""

from .captions import GROUND_WORDS, caption, describe, listed, relation, with_article
from .scenes import GRID, Dice, Scene, Sticker
from .sheet import CLASSES
from .splits import Split
from .textures import BACKGROUNDS

WORDS_FROM = 6 * 10**11  # of a split: the seeds of what is said of its scenes, apart from those of the scenes
LEFT_OUT, WRONG, FILLER = 0.3, 0.15, 0.3  # shares of web captions that lack a sticker, err, say something else as well
FILLERS = (
    "img_{}.jpg",
    "sticker pack {}",
    "free download",
    "photo {}",
    "best price, buy now",
    "hd wallpaper",
    "page {}",
)
PLACES = (
    ("at the upper left", "at the top", "at the upper right"),
    ("at the left", "in the middle", "at the right"),
    ("at the lower left", "at the bottom", "at the lower right"),
)
MOST_SENTENCES = 3  # of a sub-caption


def words_dice(split: Split, number: int) -> Dice:
    """The dice for what is said of the split's scene `number`."""
    return Dice(split.seed(WORDS_FROM + number))


def web_caption(dice: Dice, scene: Scene) -> str:
    """A short caption: often without size, colour or ground, sometimes without a sticker, wrong, or with filler."""
    stickers = dice.shuffled(scene.stickers)
    if len(stickers) > 1 and dice.chance(LEFT_OUT):
        stickers.pop()
    background = scene.background
    if dice.chance(WRONG):
        if dice.chance(0.5):
            background = dice.below(len(BACKGROUNDS))
        else:
            stickers[0] = stickers[0]._replace(kind=dice.below(len(CLASSES)), colour=0)
    words = caption(dice, scene._replace(stickers=tuple(stickers), background=background))
    if dice.chance(FILLER):
        filler = dice.pick(FILLERS).format(dice.below(1000))
        words = f"{filler} {words}" if dice.chance(0.5) else f"{words} {filler}"
    return words


def synthetic_caption(dice: Dice, scene: Scene) -> list[str]:
    """A long caption, sentence by sentence: all stickers, the ground, each sticker's place, how neighbours lie."""
    stickers = dice.shuffled(scene.stickers)
    ground, phrases = GROUND_WORDS[BACKGROUNDS[scene.background]], [with_article(describe(one)) for one in stickers]
    sentences = [f"The picture shows {listed(phrases)} {ground}."]
    sentences += [f"There is {words} {place(one)}." for one, words in zip(stickers, phrases)]
    for a, b in zip(stickers, stickers[1:]):
        if where := relation(a, b):
            sentences.append(f"{with_article(describe(a)).capitalize()} lies {where} {with_article(describe(b))}.")
    return sentences


def place(sticker: Sticker) -> str:
    """Where in the picture, of nine places: "at the upper left", "in the middle"."""
    return PLACES[3 * sticker.y // GRID][3 * sticker.x // GRID]


def sub_caption(dice: Dice, sentences: list[str]) -> str:
    """A piece of a long caption: one to three sentences that follow each other, from anywhere in it."""
    first, count = dice.below(len(sentences)), dice.between(1, MOST_SENTENCES)
    return " ".join(sentences[first : first + count])
