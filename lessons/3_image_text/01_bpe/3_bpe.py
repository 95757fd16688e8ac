"""The merge loop  (15 minutes, difficulty 3 of 5)

Tokenize one word. `merges` is the list of learned pairs, the earliest
first. Begin with one symbol a letter, the last one marked "</w>". Again
and again, of all pairs of neighbours that were learned, take the one that
was learned earliest and merge it everywhere; stop when no pair of
neighbours was learned. Like the BPE model of the `tokenizers` library.

    bpe("lower", [("l", "o"), ("lo", "w"), ("e", "r</w>")])
        -> ["low", "er</w>"]
"""

from itertools import pairwise


# %% solution
def bpe(word, merges):
    """A word of ASCII letters and a list of pairs -> list of symbols."""
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        known = [pair for pair in pairwise(symbols) if pair in ranks]
        if not known:
            return symbols
        symbols = merge(symbols, min(known, key=ranks.get))


def merge(symbols, pair):
    merged = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


# %% check: the merge loop against the BPE model of Hugging Face's tokenizers
from collections import Counter

from tokenizers.models import BPE

from lessons.checker import Mistake, Task

HAND_MADE = [
    (["abc", "abcabc", "c"], [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c</w>")]),
    (["abcd", "dabc"], [("c", "d</w>"), ("b", "c"), ("a", "b"), ("ab", "cd</w>")]),
    (["lower", "lowlow", "low", "flow"], [("l", "o"), ("lo", "w"), ("e", "r</w>"), ("lo", "w</w>")]),
    (["aaa", "aaaaa", "a", "baab"], [("a", "a"), ("aa", "a</w>"), ("b", "aa")]),
    (["abc", "abcx"], [("a", "b"), ("b", "c</w>"), ("b", "c")]),
    (["xyz", "zyx"], []),
]


def cases(random):
    for words, merges in HAND_MADE:
        for word in words:
            yield {"word": word, "merges": merges}
    letters = "aebt"
    words = ["".join(letters[i] for i in random.integers(0, 4, 3 + size)) for size in range(12)]
    merges = learned(words, 12)
    for word in words[::2]:
        yield {"word": word, "merges": merges}


def learned(words, count):
    pieces, merges = [[*word[:-1], word[-1] + "</w>"] for word in words], []
    for _ in range(count):
        pairs = Counter(pair for symbols in pieces for pair in pairwise(symbols))
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        pieces = [merge(symbols, merges[-1]) for symbols in pieces]
    return merges


def reference(word, merges):
    letters = sorted(set(word) | {letter for pair in merges for letter in "".join(pair).replace("</w>", "")})
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *dict.fromkeys(map("".join, merges))]
    model = BPE({symbol: i for i, symbol in enumerate(vocabulary)}, list(merges), end_of_word_suffix="</w>")
    return [token.value for token in model.tokenize(word)]


def flawed(word, merges, choose="earliest", mark=True, rounds=1000, all_places=True):
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    symbols = [*word[:-1], word[-1] + ("</w>" if mark else "")]
    for _ in range(rounds):
        known = [pair for pair in pairwise(symbols) if pair in ranks]
        if not known:
            break
        if choose == "left":
            pair = known[0]
        elif choose == "right":
            pair = known[-1]
        elif choose == "longest":
            pair = max(known, key=lambda pair: len("".join(pair)))
        else:
            pair = (min if choose == "earliest" else max)(known, key=ranks.get)
        symbols = merge(symbols, pair)
    return symbols


def greedy(word, merges):
    """Cuts the longest known symbol off the front, as WordPiece does."""
    known, rest, out = {"".join(pair) for pair in merges}, word + "$", []
    known = {symbol.replace("</w>", "$") for symbol in known}
    while rest:
        ends = [end for end in range(len(rest), 0, -1) if rest[:end] in known]
        end = ends[0] if ends else (2 if rest[1:] == "$" else 1)
        out.append(rest[:end])
        rest = rest[end:]
    return [symbol.replace("$", "</w>") for symbol in out]


MISTAKES = [
    Mistake("the latest learned pair merged first", choose="latest", fix="Take the smallest rank."),
    Mistake("the leftmost known pair merged first", choose="left", fix="Take the pair with the smallest rank."),
    Mistake("the rightmost known pair merged first", choose="right", fix="Take the smallest rank."),
    Mistake("the pair with the longest result merged first", choose="longest", fix="Take the smallest rank."),
    Mistake("greedy pieces, the longest known symbol from the left, as WordPiece cuts", greedy),
    Mistake("the symbols after a single merge", rounds=1, fix="Repeat until no neighbours were learned."),
    Mistake("the symbols before any merge", rounds=0),
    Mistake("BPE without the end-of-word mark", mark=False, fix="The last letter carries '</w>'."),
]

TASKS = [
    Task("bpe", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="the BPE model of tokenizers"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "`ranks = {pair: place for place, pair in enumerate(merges)}`; the smallest rank among the neighbours is the next "
     "merge."),
    ("It never ends", "Stop when no pair of neighbours is in ranks, also when one symbol is left."),
    ("A word comes out in other pieces", "Not the leftmost pair and not the longest one: the pair learned earliest."),
]
