"""Find the bug: shifted windows  (15 minutes, difficulty 4 of 5)

The windowed attention of one shifted block, for maps of any size, as in
`SwinBlock.look_around`. `attend(windows, seen)` is the attention itself and
`mask(h, w)` the table of 2.6.2 for a map of h x w tokens; both are right.
This function passes every test on maps that are whole windows, and is wrong
on all others: one line stands in the wrong place. Put it where it belongs.
"""

import torch
import torch.nn.functional as F
from einops import rearrange


# %% given: with its bug
def look_around(x, attend, mask, side, shift):
    """x (B, h, w, D), any h and w; attend: (B*W, N, D) and bool (W, N, N) -> (B*W, N, D). Gives (B, h, w, D)."""
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    padded_h, padded_w = x.shape[1:3]
    x = torch.roll(x, (-shift, -shift), dims=(1, 2))
    windows = rearrange(x, "b (row y) (col x) d -> (b row col) (y x) d", y=side, x=side)
    windows = attend(windows, mask(padded_h, padded_w))
    sizes = {"row": padded_h // side, "col": padded_w // side, "y": side}
    x = rearrange(windows, "(b row col) (y x) d -> b (row y) (col x) d", **sizes)
    x = x[:, :h, :w]
    return torch.roll(x, (shift, shift), dims=(1, 2))


# %% solution
def look_around(x, attend, mask, side, shift):
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    padded_h, padded_w = x.shape[1:3]
    x = torch.roll(x, (-shift, -shift), dims=(1, 2))
    windows = rearrange(x, "b (row y) (col x) d -> (b row col) (y x) d", y=side, x=side)
    windows = attend(windows, mask(padded_h, padded_w))
    sizes = {"row": padded_h // side, "col": padded_w // side, "y": side}
    x = rearrange(windows, "(b row col) (y x) d -> b (row y) (col x) d", **sizes)
    x = torch.roll(x, (shift, shift), dims=(1, 2))
    return x[:, :h, :w]


# %% check: shifted windows against every token's window worked out by hand
from lessons.checker import Mistake, Task


def mask_of(side, shift):
    """The mask of 2.6.2 for maps of any size."""

    def mask(h, w):
        down, across = torch.arange(h) >= h - shift, torch.arange(w) >= w - shift
        part = 2 * down[:, None].long() + across
        part = rearrange(part, "(row y) (col x) -> (row col) (y x)", y=side, x=side)
        return part[:, :, None] == part[:, None, :]

    return mask


def attention(random, dim):
    """One head with its own matrices; a token that sees nobody else sees itself."""
    q, k, v, bias = random(dim, dim), random(dim, dim), random(dim, dim), random(dim)

    def attend(windows, seen):
        seen = seen.repeat(len(windows) // len(seen), 1, 1)
        scores = (windows @ q + bias) @ (windows @ k + bias).mT
        return scores.masked_fill(~seen, float("-inf")).softmax(dim=-1) @ (windows @ v + bias)

    attend.parts = (q, k, v, bias)
    return attend


def cases(random):
    for batch, h, w, dim, side, shift in [
        (2, 3, 5, 3, 2, 1),
        (2, 7, 4, 2, 4, 2),
        (1, 2, 2, 3, 5, 2),
        (2, 6, 7, 2, 3, 1),
    ]:
        functions = {"attend": attention(random, dim), "mask": mask_of(side, shift)}
        yield {"x": random(batch, h, w, dim), **functions, "side": side, "shift": shift}


def reference(x, attend, mask, side, shift):
    """For each token: who lies in its window and on its side of the seams; then one row of attention."""
    q, k, v, bias = attend.parts
    h, w = x.shape[1:3]
    high, wide = -(-h // side) * side, -(-w // side) * side
    padded = F.pad(x, (0, 0, 0, wide - w, 0, high - h))

    def place(y, length):  # which window, and whether it came around
        rolled = (y - shift) % length
        return rolled // side, rolled >= length - shift

    out = torch.empty_like(x)
    for y in range(h):
        for column in range(w):
            here = place(y, high), place(column, wide)
            others = [(b, a) for b in range(high) for a in range(wide) if (place(b, high), place(a, wide)) == here]
            tokens = torch.stack([padded[:, b, a] for b, a in others], dim=1)  # (B, others, D)
            scores = ((x[:, y, column] @ q + bias)[:, None] * (tokens @ k + bias)).sum(-1)  # (B, others)
            out[:, y, column] = (scores.softmax(-1)[..., None] * (tokens @ v + bias)).sum(1)
    return out


def flawed(x, attend, mask, side, shift, there=-1, back=1, masked=True, pad="first", crop="last"):
    h, w = x.shape[1:3]
    padding = (0, 0, 0, -w % side, 0, -h % side)
    x = F.pad(x, padding) if pad == "first" else x
    x = torch.roll(x, (there * shift, there * shift), dims=(1, 2))
    x = F.pad(x, padding) if pad == "after the roll" else x
    high, wide = x.shape[1:3]
    seen = mask(high, wide) if masked else torch.ones(1, side**2, side**2, dtype=torch.bool)
    windows = rearrange(x, "b (row y) (col x) d -> (b row col) (y x) d", y=side, x=side)
    sizes = {"row": high // side, "col": wide // side, "y": side}
    x = rearrange(attend(windows, seen), "(b row col) (y x) d -> b (row y) (col x) d", **sizes)
    x = x[:, :h, :w] if crop == "first" else x
    x = torch.roll(x, (back * shift, back * shift), dims=(1, 2))
    return x[:, :h, :w]


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", crop="first",
            fix="Undo in reverse order: what was done last is undone first."),
    Mistake("that of a block that also pads after the roll: both halves were turned round, as timm has them",
            crop="first", pad="after the roll", fix="Padding first was right; crop last."),
    Mistake("that of a block without a mask: that part was right", masked=False),
    Mistake("that of a block that rolls back in the same direction", back=-1, fix="Roll by +shift."),
    Mistake("that of a block that does not roll back", back=0, fix="Roll by +shift, then crop."),
    Mistake("that of a block that rolls down and to the right first: that line was right", there=1, back=-1),
]

TASKS = [
    Task("look_around", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x",),
         like="every token's window, worked out by hand"),
]


# %% hints
HINTS = [
    ("Where to look", "Which lines do nothing when h and w are multiples of side? Two. Which one undoes the other?"),
    ("Follow one token",
     "Take h = w = 3, side 2, shift 1, and write down where the last row is: after the pad, after the roll, after the "
     "crop, after the second roll."),
    ("The rule", "What was done last is undone first: pad, roll, cut; join, roll back, crop."),
]
