"""2.7.5  Find the bug: sentences that depend on their neighbours  (10 minutes, difficulty 2 of 5)

One vector for a whole sentence: the mean of the answers of all its tokens,
[CLS] and [SEP] among them, padding not. For a single sentence this function
is right. In a batch, a short sentence gets another vector when a longer one
stands beside it. One line is wrong. Repair it.
"""

import torch


def sentence_vectors(tokens, mask):
    """tokens (B, N, D) after the last block, mask (B, N) of 1 and 0 -> (B, D)."""
    real = mask.to(tokens.dtype).unsqueeze(-1)
    total = (tokens * real).sum(dim=1)
    return total / tokens.shape[1]
