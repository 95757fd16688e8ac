"""The check of 3.1.3: the merge loop against the BPE model of Hugging Face's tokenizers."""

from collections import Counter
from itertools import pairwise

from tokenizers.models import BPE

from lessons.checker import Mistake, Task

HINTS = [
    (
        "Where to begin",
        "`ranks = {pair: place for place, pair in enumerate(merges)}`; the smallest rank among the neighbours is the "
        "next merge.",
    ),
    ("It never ends", "Stop when no pair of neighbours is in ranks, also when one symbol is left."),
    ("A word comes out in other pieces", "Not the leftmost pair and not the longest one: the pair learned earliest."),
]


def bpe(word, merges):
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


TASKS = [
    Task(
        "bpe",
        cases,
        reference=reference,
        like="the BPE model of tokenizers",
        mistakes=[
            Mistake("the latest learned pair merged first", flawed, choose="latest", fix="Take the smallest rank."),
            Mistake(
                "the leftmost known pair merged first",
                flawed,
                choose="left",
                fix="Take the pair with the smallest rank.",
            ),
            Mistake("the rightmost known pair merged first", flawed, choose="right", fix="Take the smallest rank."),
            Mistake(
                "the pair with the longest result merged first", flawed, choose="longest", fix="Take the smallest rank."
            ),
            Mistake("greedy pieces, the longest known symbol from the left, as WordPiece cuts", greedy),
            Mistake(
                "the symbols after a single merge", flawed, rounds=1, fix="Repeat until no neighbours were learned."
            ),
            Mistake("the symbols before any merge", flawed, rounds=0),
            Mistake("BPE without the end-of-word mark", flawed, mark=False, fix="The last letter carries '</w>'."),
        ],
    )
]
