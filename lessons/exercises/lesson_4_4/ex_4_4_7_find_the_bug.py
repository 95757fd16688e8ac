"""4.4.7  Find the bug: two ways out of a stage  (10 minutes, difficulty 3 of 5)

A stage of LAVT has two outputs: one for the decoder, one for the next
stage. Somebody's port learns well from scratch; with the official weights
its masks are poor. One line is wrong, every shape is right. Remember what
the released weights want: the decoder reads F, with a norm of its own; the
next stage reads E = V + gate(F) * F, merged.
"""

import torch


def stage(x, blocks, fuse, gate, norm, merge):
    """x (B, N, C); blocks a list; fuse, gate, norm (B, N, C) -> (B, N, C); merge (B, N, C) -> (B, N / 4, 2 C)
    -> {"decoder": (B, N, C), "next": (B, N / 4, 2 C)}."""
    for block in blocks:
        x = block(x)
    fused = fuse(x)
    x = x + gate(fused) * fused
    return {"decoder": norm(x), "next": merge(x)}
