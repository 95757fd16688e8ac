"""The longest piece that fits  (15 minutes, difficulty 2 of 5)

Cut one word as BERT does. Look for the longest piece of the vocabulary that
stands at the word's beginning, then for the longest one at the beginning of
what is left, and so on. Behind the first piece only those count that are
written with "##" in front. If at some place no piece fits, the whole word is
["[UNK]"]; so is a word of more than 100 characters. Like the WordPiece model
of the `tokenizers` library.

    word_pieces("unplayable", {"un", "##play", "##able", "##a"})
        -> ["un", "##play", "##able"]
"""


# %% solution
def word_pieces(word, vocabulary):
    """A word of one character or more and a set of pieces -> list of pieces."""
    pieces, start = [], 0
    if len(word) > 100:
        return ["[UNK]"]
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


# %% check: the longest match against the WordPiece model of Hugging Face's tokenizers
from tokenizers.models import WordPiece

from lessons.checker import Mistake, Task

PIECES = "un play ##play playing ##ing ##able ##a ##ble ##s s a b ab ##b ##ab ##abc abc ##c d ##d dab".split()
WORDS = "playing plays unplayable unplayed play a s abcab abcd dab dabc cab bab abab abb abcabc sing ing".split()


def cases(random):
    for word in WORDS:
        yield {"word": word, "vocabulary": set(PIECES)}
    letters = "abcd"
    for length in range(3, 11):
        word = "".join(letters[i] for i in random.integers(0, 4, length))
        yield {"word": word, "vocabulary": {*PIECES, "c", "bc", "##cd", "##bcd", "##da", "##dab"}}
    for length in (99, 100, 101):
        yield {"word": "ab" * (length // 2) + "a" * (length % 2), "vocabulary": set(PIECES)}


def reference(word, vocabulary):
    names = [*sorted(vocabulary), "[UNK]"]
    model = WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]", max_input_chars_per_word=100)
    return [token.value for token in model.tokenize(word)]


def flawed(word, vocabulary, choose=0, mark="##", first="", rest=False, limit=100, hide=False, bare=False, right=False):
    """choose 0: the longest; -1: the shortest. rest: only what is left becomes unknown."""
    if right:
        return from_the_right(word, vocabulary, limit)
    pieces, start = [], 0
    while start < len(word):
        before = mark if start else first
        ends = [end for end in range(len(word), start, -1) if before + word[start:end] in vocabulary]
        if bare and start:
            ends = [e for e in range(len(word), start, -1) if {word[start:e], before + word[start:e]} & vocabulary]
        if not ends or len(word) > limit:
            return [*pieces, "[UNK]"] if rest else ["[UNK]"]
        piece = before + word[start : ends[choose]]
        pieces.append(piece.removeprefix("##") if hide else piece)
        start = ends[choose]
    return pieces


def from_the_right(word, vocabulary, limit):
    pieces, end = [], len(word)
    while end:
        starts = [start for start in range(end) if ("##" if start else "") + word[start:end] in vocabulary]
        if not starts or len(word) > limit:
            return ["[UNK]"]
        pieces.insert(0, ("##" if starts[0] else "") + word[starts[0] : end])
        end = starts[0]
    return pieces


MISTAKES = [
    Mistake("the cut with the shortest piece first", choose=-1, fix="Try the ends from len(word) downwards."),
    Mistake("the cut that keeps the pieces before an unknown rest", rest=True,
            fix="The whole word is unknown: return ['[UNK]']."),
    Mistake("the cut without ## : every piece may stand everywhere", mark="",
            fix="Behind the first piece look for '##' + word[start:end]."),
    Mistake("the right pieces, handed in without their ##", hide=True),
    Mistake("the cut that takes pieces with and without ## behind the first one", bare=True,
            fix="Only pieces with ## may stand inside a word."),
    Mistake("the cut from the right end of the word", right=True, fix="Begin at the word's beginning."),
    Mistake("the cut that looks for ## on the first piece too", first="##"),
    Mistake("the cut of words of any length", limit=10**9, fix="More than 100 characters are ['[UNK]']."),
    Mistake("the cut that gives up at 100 characters already", limit=99, fix="100 are still fine."),
]

TASKS = [
    Task("word_pieces", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="the WordPiece model of tokenizers"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "Two loops: the outer one walks along the word with `start`, the inner one tries `end` from `len(word)` down to "
     "`start + 1`."),
    ("Only the first piece is right", "Behind it look for `'##' + word[start:end]`, not for `word[start:end]`."),
    ("Unknown words come out in pieces", "As soon as no piece fits somewhere, return `['[UNK]']` and nothing else."),
]
