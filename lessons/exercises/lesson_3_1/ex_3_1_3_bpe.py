"""3.1.3  The merge loop  (15 minutes, difficulty 3 of 5)

Tokenize one word. `merges` is the list of learned pairs, the earliest
first. Begin with one symbol a letter, the last one marked "</w>". Again
and again, of all pairs of neighbours that were learned, take the one that
was learned earliest and merge it everywhere; stop when no pair of
neighbours was learned. Like the BPE model of the `tokenizers` library.

    bpe("lower", [("l", "o"), ("lo", "w"), ("e", "r</w>")])
        -> ["low", "er</w>"]
"""

from itertools import pairwise


def bpe(word, merges):
    """A word of ASCII letters and a list of pairs -> list of symbols."""
    raise NotImplementedError
