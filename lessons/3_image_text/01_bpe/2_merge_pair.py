"""Merge one pair  (5 minutes, difficulty 1 of 5)

The only operation of BPE: wherever the two symbols of a pair stand side by
side, they become one. From left to right, and a symbol that was just made
is not used again in the same pass:

    merge_pair(["l", "o", "w", "l", "o"], ("l", "o")) -> ["lo", "w", "lo"]
    merge_pair(["a", "a", "a"], ("a", "a"))           -> ["aa", "a"]
"""


# %% solution
def merge_pair(symbols, pair):
    """A list of symbols and a pair (left, right) -> a new list."""
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == tuple(pair):
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


# %% check: one merge against a regular expression on the joined symbols
import re

from lessons.checker import Mistake, Task


def cases(random):
    for text, pair in [
        ("l o w l o", ("l", "o")),
        ("a a a", ("a", "a")),
        ("a a a a a", ("a", "a")),
        ("n e w e s t</w>", ("s", "t</w>")),
        ("o l o w", ("l", "o")),
        ("x b c a b", ("b", "c")),
        ("ab c ab", ("a", "b")),
        ("a b a b a", ("a", "b")),
        ("c x a x t", ("c", "a")),
        ("q", ("q", "q")),
    ]:
        yield {"symbols": text.split(), "pair": pair}


def reference(symbols, pair):
    text = "".join(f"<{symbol}>" for symbol in (s.replace("</w>", "\n") for s in symbols))
    left, right = (re.escape(part.replace("</w>", "\n")) for part in pair)
    text = re.sub(f"<({left})><({right})>", r"<\1\2>", text)
    return [symbol.replace("\n", "</w>") for symbol in re.findall(r"<([^>]*)>", text)]


def overlapping(symbols, pair):
    places = {i for i in range(len(symbols) - 1) if (symbols[i], symbols[i + 1]) == tuple(pair)}
    merged = []
    for i, symbol in enumerate(symbols):
        if i in places:
            merged.append(symbol + symbols[i + 1])
        elif i - 1 not in places:
            merged.append(symbol)
    return merged


def first_only(symbols, pair):
    for i in range(len(symbols) - 1):
        if (symbols[i], symbols[i + 1]) == tuple(pair):
            return symbols[:i] + [symbols[i] + symbols[i + 1]] + symbols[i + 2 :]
    return list(symbols)


def from_the_right(symbols, pair):
    turned = merge_pair([s[::-1] for s in symbols[::-1]], (pair[1][::-1], pair[0][::-1]))
    return [s[::-1] for s in turned[::-1]]


def reuse(symbols, pair):
    """Joins a symbol to what was just made when the text fits."""
    merged = []
    for symbol in symbols:
        if merged and (merged[-1][-len(pair[0]) :], symbol) == tuple(pair):
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def either_order(symbols, pair):
    merged, i = [], 0
    while i < len(symbols):
        if sorted(symbols[i : i + 2]) == sorted(pair):
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def without_last(symbols, pair):
    merged, i = [], 0
    while i < len(symbols) - 1:
        step = 2 if (symbols[i], symbols[i + 1]) == tuple(pair) else 1
        merged.append("".join(symbols[i : i + step]))
        i += step
    return merged


MISTAKES = [
    Mistake("merges that overlap: a a a became aa aa", overlapping, fix="After a merge step over both symbols."),
    Mistake("the first occurrence merged, the others left", first_only, fix="Go on after a merge."),
    Mistake("the pairs merged from right to left", from_the_right, fix="Left to right: a a a becomes aa a."),
    Mistake("symbols joined to what was merged just before: a a a became aaa", reuse),
    Mistake("the pair merged in either order: o l as well as l o", either_order),
    Mistake("the merged list without its last symbol", without_last, fix="The last symbol may stay alone: append it."),
]

TASKS = [
    Task("merge_pair", cases, reference=reference, mistakes=MISTAKES, like="one merge from left to right"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "A while loop with an index: where the pair begins, append both as one and step by 2; else append one and step by "
     "1."),
    ("IndexError at the end", "The last symbol has no right neighbour: ask for it only while `i + 1 < len(symbols)`."),
    ("Wrong for a a a", "After a merge step over both symbols."),
]
