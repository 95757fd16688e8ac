"""3.1.2  Merge one pair  (5 minutes, difficulty 1 of 5)

The only operation of BPE: wherever the two symbols of a pair stand side by
side, they become one. From left to right, and a symbol that was just made
is not used again in the same pass:

    merge_pair(["l", "o", "w", "l", "o"], ("l", "o")) -> ["lo", "w", "lo"]
    merge_pair(["a", "a", "a"], ("a", "a"))           -> ["aa", "a"]
"""


def merge_pair(symbols, pair):
    """A list of symbols and a pair (left, right) -> a new list."""
    raise NotImplementedError
