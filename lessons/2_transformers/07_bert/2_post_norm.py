"""The post-norm block  (10 minutes, difficulty 1 of 5)

BERT's block, from its four parts, each a function (B, N, D) -> (B, N, D).
The norms stand on the residual stream itself, after each sum (Vaswani et
al. 2017, section 3.1):

    y = norm1(x + attention(x))
    z = norm2(y + mlp(y))

Hand in both: `{"after_attention": y, "output": z}`. Like
`torch.nn.TransformerEncoderLayer(..., norm_first=False)`.
"""

import torch


# %% solution
def post_norm_block(x, norm1, attention, norm2, mlp):
    """x (B, N, D) and four functions -> dict with after_attention and output, both (B, N, D)."""
    y = norm1(x + attention(x))
    return {"after_attention": y, "output": norm2(y + mlp(y))}


# %% check: the post-norm block against torch.nn.TransformerEncoderLayer(norm_first=False)
from lessons.checker import Mistake, Task
from lessons.checker.block_parts import block_cases


def cases(random):
    for case in block_cases(random):
        case["attention"].layer.norm_first = False
        yield case


def reference(x, norm1, attention, norm2, mlp):
    layer = attention.layer
    return {"after_attention": layer.norm1(x + attention(x)), "output": layer(x)}


def both(y, output):
    return {"after_attention": y, "output": output}


def pre_norm(x, norm1, attention, norm2, mlp):
    y = x + attention(norm1(x))
    return both(y, y + mlp(norm2(y)))


def norm_before_sum(x, norm1, attention, norm2, mlp):
    y = x + norm1(attention(x))
    return both(y, y + norm2(mlp(y)))


def without_first_residual(x, norm1, attention, norm2, mlp):
    y = norm1(attention(x))
    return both(y, norm2(y + mlp(y)))


def without_second_residual(x, norm1, attention, norm2, mlp):
    y = norm1(x + attention(x))
    return both(y, norm2(mlp(y)))


def swapped(x, norm1, attention, norm2, mlp):
    y = norm2(x + attention(x))
    return both(y, norm1(y + mlp(y)))


def one_norm(x, norm1, attention, norm2, mlp):
    y = norm1(x + attention(x))
    return both(y, norm1(y + mlp(y)))


def no_last_norm(x, norm1, attention, norm2, mlp):
    y = norm1(x + attention(x))
    return both(y, y + mlp(y))


def stream_kept(x, norm1, attention, norm2, mlp):
    """The second sum adds to the first one as it was before its norm."""
    total = x + attention(x)
    y = norm1(total)
    return both(y, norm2(total + mlp(y)))


def from_the_start(x, norm1, attention, norm2, mlp):
    y = norm1(x + attention(x))
    return both(y, norm2(x + mlp(y)))


MISTAKES = [
    Mistake("a pre-norm block: the parts read normalised copies", pre_norm, fix="norm1(x + attention(x))."),
    Mistake("the block whose norms see the parts' answers alone, before the sum", norm_before_sum,
            fix="Add first, then normalise."),
    Mistake("the block without its first residual: x is not added", without_first_residual),
    Mistake("the block without its second residual", without_second_residual, fix="Add y to mlp(y)."),
    Mistake("the block with norm1 and norm2 exchanged", swapped),
    Mistake("the block with norm1 in both places", one_norm, fix="The second norm is norm2."),
    Mistake("the block without its last norm", no_last_norm, fix="z = norm2(y + mlp(y))."),
    Mistake("the block whose second sum adds to the first one before its norm: post-norm keeps no other stream",
            stream_kept, fix="Add mlp(y) to y."),
    Mistake("the block whose second sum starts again from x", from_the_start, fix="Add mlp(y) to y."),
]

TASKS = [
    Task("post_norm_block", cases, reference=reference, mistakes=MISTAKES, gradients=("x",),
         like="torch.nn.TransformerEncoderLayer(norm_first=False)"),
]


# %% hints
HINTS = [
    ("What is the difference to 2.2.4?", "There the parts read a normalised copy; here x itself is normalised."),
    ("`after_attention` is wrong", "First the sum, then the norm: `norm1(x + attention(x))`."),
    ("Only `output` is wrong", "The second sum adds to y, the normalised first one, and its norm is norm2."),
]
