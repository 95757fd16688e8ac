"""Every position asks every word  (15 minutes, difficulty 3 of 5)

The attention inside PWAM, with one head or several. Each position of the
map (its query) is compared with each word (its key); a softmax over the
words; the words' values are mixed. Heads are contiguous groups of channels.
The released code divides the scores by the square root of C, ALL channels,
however many heads there are. A word whose mask is 0 is padding: no position
may take anything from it, whatever its score.
"""

import torch


# %% solution
def ask_words(query, key, value, mask, num_heads):
    """query (B, N, C), key and value (B, T, C), mask (B, T) of 0 and 1, num_heads divides C -> (B, N, C)."""
    channels = query.shape[-1]
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.mT * channels**-0.5  # (B, heads, N, T)
    scores = scores.masked_fill(mask[:, None, None] == 0, float("-inf"))
    mixed = scores.softmax(dim=-1) @ v  # (B, heads, N, C / heads)
    return mixed.transpose(1, 2).flatten(-2)


# %% check: attention to words against torch's scaled_dot_product_attention with a scale of its own
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, words, channels, heads in [(2, 5, 4, 6, 1), (3, 4, 5, 8, 2), (2, 6, 3, 12, 3)]:
        mask = torch.ones(batch, words, dtype=torch.long)
        mask[0, -1] = mask[-1, 2:] = 0
        yield {
            "query": random(batch, n, channels), "key": random(batch, words, channels),
            "value": random(batch, words, channels), "mask": mask, "num_heads": heads,
        }


def reference(query, key, value, mask, num_heads):
    answers = []
    size = query.shape[-1] // num_heads
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        q, k, v = query[..., part], key[..., part], value[..., part]
        seen = (mask == 1)[:, None].expand(-1, q.shape[1], -1)
        answers.append(F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=query.shape[-1] ** -0.5))
    return torch.cat(answers, dim=-1)


def flawed(q, k, v, mask, heads, scale="all", masked="before", over=-1, split="contiguous", single=False, rolled=0):
    heads, channels = 1 if single else heads, q.shape[-1]
    mask = mask.roll(rolled, 0)
    if masked == "zeroed":
        k, v = k * mask[..., None], v * mask[..., None]
    pattern = (heads, -1) if split == "contiguous" else (-1, heads)
    q, k, v = (x.unflatten(-1, pattern) for x in (q, k, v))
    q, k, v = (x.transpose(1, 2) if split == "contiguous" else x.permute(0, 3, 1, 2) for x in (q, k, v))
    factor = {"all": channels, "head": channels // heads, "none": 1, "square": channels**2, "words": k.shape[-2]}
    scores = q @ k.mT * factor[scale] ** -0.5
    if masked in ("before", "positions"):
        scores = scores.masked_fill(mask[:, None, None] == 0, -1e9)
    weights = scores.softmax(dim=over)
    if masked == "after":
        weights = weights * mask[:, None, None]
    mixed = weights @ v
    return (mixed.transpose(1, 2) if split == "contiguous" else mixed.permute(0, 2, 3, 1)).flatten(-2)


MISTAKES = [
    Mistake("attention scaled by one head's channels, as everywhere else", scale="head",
            fix="LAVT's released code divides by the root of all channels, with several heads too."),
    Mistake("attention without the scale", scale="none", fix="Divide the scores by the root of C."),
    Mistake("attention divided by C in place of its root", scale="square"),
    Mistake("attention scaled by the number of words", scale="words", fix="C counts channels, not words."),
    Mistake("attention without the mask", masked="never",
            fix="Scores of padded words become minus infinity before the softmax."),
    Mistake("attention whose padded keys and values are zeros, but still count", masked="zeroed",
            fix="A score of 0 still gets a weight: use minus infinity."),
    Mistake("attention masked after the softmax: the rows no longer sum to one", masked="after",
            fix="Mask the scores, not the weights."),
    Mistake("attention whose softmax runs over the positions", over=-2,
            fix="Each position shares itself out among the words: softmax over the last axis."),
    Mistake("attention whose heads take every so many channels", split="interleaved",
            fix="Head 0 has the first C / heads channels, and so on."),
    Mistake("attention with one head, however many are asked for", single=True),
    Mistake("attention with another sentence's mask", rolled=1, fix="Row b of the mask is sentence b."),
]

TASKS = [
    Task("ask_words", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("query", "key", "value"),
         like="scaled_dot_product_attention with scale = C ** -0.5", forbidden=("scaled_dot_product_attention",)),
]


# %% hints
HINTS = [
    ("Where to begin",
     "With one head: `scores = query @ key.mT / C**0.5` is (B, N, T); a softmax over the last axis; `@ value`."),
    ("Right with one head, wrong with several",
     "`query.unflatten(-1, (num_heads, -1)).transpose(1, 2)` is (B, heads, N, C / heads). The scale stays C ** -0.5, "
     "with C all channels."),
    ("Padding changes the answer",
     "Set the scores of padded words to minus infinity before the softmax. A key of zeros is not enough: its score is "
     "0, and exp(0) is 1."),
]
