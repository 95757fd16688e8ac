"""The pre-norm block  (10 minutes, difficulty 2 of 5)

The four parts are given as functions, each (B, N, D) -> (B, N, D). Put them
together as a ViT does (Dosovitskiy et al. 2021, eq. 2 and 3), like
`torch.nn.TransformerEncoderLayer(..., norm_first=True)`:

    z' = x + attention(norm1(x))
    z  = z' + mlp(norm2(z'))

Hand in both sums: `{"after_attention": z', "output": z}`.
"""

import torch


# %% solution
def block(x, norm1, attention, norm2, mlp):
    """x (B, N, D) and four functions -> dict with after_attention and output, both (B, N, D)."""
    middle = x + attention(norm1(x))
    return {"after_attention": middle, "output": middle + mlp(norm2(middle))}


# %% check: the pre-norm block against torch.nn.TransformerEncoderLayer(norm_first=True)
from lessons.checker import Mistake, Task
from lessons.checker.block_parts import block_cases


def reference(x, norm1, attention, norm2, mlp):
    layer = attention.layer
    return {"after_attention": x + attention(layer.norm1(x)), "output": layer(x)}


def both(middle, output):
    return {"after_attention": middle, "output": output}


def post_norm(x, norm1, attention, norm2, mlp):
    middle = norm1(x + attention(x))
    return both(middle, norm2(middle + mlp(middle)))


def without_first_residual(x, norm1, attention, norm2, mlp):
    middle = attention(norm1(x))
    return both(middle, middle + mlp(norm2(middle)))


def without_second_residual(x, norm1, attention, norm2, mlp):
    middle = x + attention(norm1(x))
    return both(middle, mlp(norm2(middle)))


def residual_from_norm(x, norm1, attention, norm2, mlp):
    x = norm1(x)
    middle = x + attention(x)
    return both(middle, middle + mlp(norm2(middle)))


def residuals_from_norms(x, norm1, attention, norm2, mlp):
    x = norm1(x)
    middle = x + attention(x)
    normed = norm2(middle)
    return both(middle, normed + mlp(normed))


def norms_swapped(x, norm1, attention, norm2, mlp):
    middle = x + attention(norm2(x))
    return both(middle, middle + mlp(norm1(middle)))


def one_norm(x, norm1, attention, norm2, mlp):
    middle = x + attention(norm1(x))
    return both(middle, middle + mlp(norm1(middle)))


def without_norms(x, norm1, attention, norm2, mlp):
    middle = x + attention(x)
    return both(middle, middle + mlp(middle))


def parallel(x, norm1, attention, norm2, mlp):
    middle = x + attention(norm1(x))
    return both(middle, middle + mlp(norm2(x)))


def from_the_start(x, norm1, attention, norm2, mlp):
    middle = x + attention(norm1(x))
    return both(middle, x + mlp(norm2(middle)))


MISTAKES = [
    Mistake("a post-norm block: the norms come after the sums", post_norm, fix="x + attention(norm1(x))."),
    Mistake("the block with the first residual missing: x is not added to attention's answer", without_first_residual),
    Mistake("the block with the second residual missing", without_second_residual,
            fix="Add the first sum to mlp's answer."),
    Mistake("the block whose first residual adds norm1(x) instead of x", residual_from_norm,
            fix="Keep x; give attention a normalised copy."),
    Mistake("the block whose residuals both add the normalised tokens", residuals_from_norms),
    Mistake("the block with norm1 and norm2 swapped", norms_swapped),
    Mistake("the block with norm1 in both places", one_norm, fix="The MLP reads norm2."),
    Mistake("the block without any norm", without_norms),
    Mistake("a parallel block: the MLP reads norm2(x) instead of the first sum", parallel),
    Mistake("the block whose second sum starts again from x", from_the_start, fix="Add to the first sum."),
]

TASKS = [
    Task("block", block_cases, reference=reference, mistakes=MISTAKES, gradients=("x",),
         like="torch.nn.TransformerEncoderLayer(norm_first=True)"),
]


# %% hints
HINTS = [
    ("What is the residual stream?",
     "x itself runs through, untouched; each part reads a normalised copy and adds its answer."),
    ("`after_attention` is wrong", "What is added to the answer of attention: x, or `norm1(x)`?"),
    ("Only `output` is wrong", "norm2 and the second sum both take the first sum, not x."),
]
