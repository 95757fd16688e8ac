"""4.4.1  Every position asks every word  (15 minutes, difficulty 3 of 5)

The attention inside PWAM, with one head or several. Each position of the
map (its query) is compared with each word (its key); a softmax over the
words; the words' values are mixed. Heads are contiguous groups of channels.
The released code divides the scores by the square root of C, ALL channels,
however many heads there are. A word whose mask is 0 is padding: no position
may take anything from it, whatever its score.
"""

import torch


def ask_words(query, key, value, mask, num_heads):
    """query (B, N, C), key and value (B, T, C), mask (B, T) of 0 and 1, num_heads divides C -> (B, N, C)."""
    raise NotImplementedError
