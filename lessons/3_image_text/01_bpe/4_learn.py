"""Learn merges  (20 minutes, difficulty 3 of 5)

Where the merges come from (Sennrich et al. 2016, algorithm 1). Given words
with how often each occurs, repeat `num_merges` times: count every pair of
neighbours, each word as often as it occurs; the most frequent pair is the
next merge (of equal ones, the pair that sorts first); merge it in all
words. The last letter of each word carries "</w>". Stop early when no pair
is left.

    learn_merges({"low": 5, "lot": 2}, 2) -> [("l", "o"), ("lo", "w</w>")]
"""

from collections import Counter
from itertools import pairwise


# %% solution
def learn_merges(words, num_merges):
    """{word: count} and a number -> list of pairs (left, right), in the order learned."""
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for word, symbols in pieces.items():
            for pair in pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        pieces = {word: merge(symbols, best) for word, symbols in pieces.items()}
        merges.append(best)
    return merges


def merge(symbols, pair):
    merged = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


# %% check: learned merges against a loop on strings, as in the paper's own listing
import re

from lessons.checker import Mistake, Task


def cases(random):
    yield {"words": {"low": 5, "lower": 2, "newest": 6, "widest": 3}, "num_merges": 10}
    yield {"words": {"banana": 3, "ananas": 4, "an": 1, "nan": 2}, "num_merges": 6}
    yield {"words": {"ab": 1, "ba": 1, "zz": 1}, "num_merges": 9}
    yield {"words": {"aaaa": 2, "aaaab": 1, "caa": 9}, "num_merges": 5}
    counts = random.integers(1, 30, 6).tolist()
    yield {"words": dict(zip(["tree", "three", "there", "here", "the", "reeth"], counts)), "num_merges": 7}


def reference(words, num_merges):
    texts = {" ".join([*word[:-1], f"{word[-1]}</w>"]): count for word, count in words.items()}
    merges = []
    for _ in range(num_merges):
        pairs = {}
        for text, count in texts.items():
            symbols = text.split(" ")
            for i in range(len(symbols) - 1):
                pair = (symbols[i], symbols[i + 1])
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            return merges
        most = max(pairs.values())
        best = sorted(pair for pair, count in pairs.items() if count == most)[0]
        merges.append(best)
        pattern = re.compile(r"(?<!\S)" + re.escape(" ".join(best)) + r"(?!\S)")
        texts = {pattern.sub("".join(best), text): count for text, count in texts.items()}
    return merges


def flawed(words, num_merges, weight=lambda count: count, mark="</w>", ties=lambda pair: pair, once=False, apply=True):
    pieces = {word: [*word[:-1], word[-1] + mark] for word in words}
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for word, symbols in pieces.items():
            for pair in set(pairwise(symbols)) if once else pairwise(symbols):
                pairs[pair] += weight(words[word])
        for done in () if apply else merges:
            pairs.pop(done, None)
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], ties(pair)))
        pieces = {word: merge(symbols, best) for word, symbols in pieces.items()} if apply else pieces
        merges.append(best)
    return merges


def backwards(pair):
    return [[-ord(letter) for letter in symbol] for symbol in pair]


MISTAKES = [
    Mistake("the merges with each word counted once, however often it occurs", weight=lambda count: 1),
    Mistake("the merges without the end-of-word mark", mark=""),
    Mistake("the most frequent pairs of the unmerged words: nothing was merged between two rounds", apply=False,
            fix="Merge the new pair in all words, then count again."),
    Mistake("the merges with a pair counted at most once a word", once=True, fix="banana holds (a, n) twice."),
    Mistake("the merges with ties going to the pair that sorts last", ties=backwards, fix="The first in sorting."),
    Mistake("the merges with ties going to the pair met first", ties=lambda pair: 0, fix="The first in sorting."),
    Mistake("the merges in reverse order", lambda words, n: reference(words, n)[::-1]),
]

TASKS = [
    Task("learn_merges", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="the paper's algorithm 1"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "Keep `{word: list of symbols}`. One round: a Counter over `zip(symbols, symbols[1:])`, the best pair, merge it "
     "everywhere."),
    ("The first merge is right, later ones are not", "Count again after each merge: merging changes the neighbours."),
    ("Equal counts",
     "`min(pairs, key=lambda pair: (-pairs[pair], pair))` takes the most frequent, and of those the first in sorting."),
]
