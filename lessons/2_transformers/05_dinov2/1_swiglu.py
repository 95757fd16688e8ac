"""The gated MLP of ViT-g  (5 minutes, difficulty 2 of 5)

SwiGLU (Shazeer 2020, eq. 6): one layer makes twice as many hidden numbers as
the second one takes. The first half is the gate and goes through SiLU; it
multiplies the other half; a second layer mixes the products.

    gate, value = halves of  W x + b
    y = V (SiLU(gate) * value) + c            SiLU(z) = z sigmoid(z)

Like `SwiGLUFFN` of the official DINOv2 (there the layers are w12 and w3).
"""

import torch


# %% solution
def swiglu(x, w, b, v, c):
    """x (B, N, D), w (2 M, D), b (2 M), v (D, M), c (D) -> (B, N, D)."""
    gate, value = (x @ w.T + b).chunk(2, dim=-1)
    return (gate * torch.sigmoid(gate) * value) @ v.T + c


# %% check: the gated MLP against its formula, hidden number by hidden number
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, wide in [(2, 3, 4, 6), (3, 2, 6, 4), (1, 4, 5, 8)]:
        yield {
            "x": random(batch, n, dim),
            "w": random(2 * wide, dim),
            "b": random(2 * wide),
            "v": random(dim, wide),
        } | {"c": random(dim)}


def reference(x, w, b, v, c):
    wide = v.shape[1]
    answer = c.expand_as(x)
    for hidden in range(wide):
        gate = (x * w[hidden]).sum(-1, keepdim=True) + b[hidden]
        value = (x * w[wide + hidden]).sum(-1, keepdim=True) + b[wide + hidden]
        answer = answer + gate / (1 + (-gate).exp()) * value * v[:, hidden]
    return answer


def halves(hidden):
    return hidden.chunk(2, dim=-1)


def flawed(x, w, b, v, c, cut=halves, bend=F.silu, join=torch.mul, biases=(1, 1)):
    gate, value = cut(F.linear(x, w, b * biases[0]))
    return F.linear(join(bend(gate), value), v, c * biases[1])


MISTAKES = [
    Mistake("SwiGLU with its halves swapped: the second half was bent",
            cut=lambda hidden: hidden.chunk(2, dim=-1)[::-1], fix="The first half is the gate."),
    Mistake("SwiGLU with every other hidden number in the gate",
            cut=lambda hidden: (hidden[..., 0::2], hidden[..., 1::2]),
            fix="Cut the hidden numbers in the middle: chunk(2, dim=-1)."),
    Mistake("SwiGLU with GELU instead of SiLU", bend=F.gelu, fix="SiLU is z * sigmoid(z)."),
    Mistake("GLU: a sigmoid where SiLU should be", bend=torch.sigmoid, fix="Multiply by z as well."),
    Mistake("SwiGLU with ReLU instead of SiLU", bend=F.relu),
    Mistake("SwiGLU with SiLU on both halves", join=lambda gate, value: gate * F.silu(value)),
    Mistake("SwiGLU whose halves are added, not multiplied", join=torch.add),
    Mistake("a product without any bend: SiLU is missing", bend=lambda gate: gate),
    Mistake("SwiGLU without the bias of the first layer", biases=(0, 1)),
    Mistake("SwiGLU without the bias of the second layer", biases=(1, 0)),
]

TASKS = [
    Task("swiglu", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x", "w", "b", "v"),
         like="SwiGLU"),
]


# %% hints
HINTS = [
    ("A shape does not fit", "`(x @ w.T + b).chunk(2, dim=-1)` gives two tensors (B, N, M)."),
    ("The numbers are close, not equal", "SiLU is z * sigmoid(z); GELU looks much the same and is another function."),
    ("Wrong everywhere", "Which half is bent? The first one, the gate; the second stays as it is."),
]
