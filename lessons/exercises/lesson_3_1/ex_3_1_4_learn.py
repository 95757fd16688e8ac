"""3.1.4  Learn merges  (20 minutes, difficulty 3 of 5)

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


def learn_merges(words, num_merges):
    """{word: count} and a number -> list of pairs (left, right), in the order learned."""
    raise NotImplementedError
