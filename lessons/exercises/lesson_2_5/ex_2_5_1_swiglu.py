"""2.5.1  The gated MLP of ViT-g  (5 minutes, difficulty 2 of 5)

SwiGLU (Shazeer 2020, eq. 6): one layer makes twice as many hidden numbers as
the second one takes. The first half is the gate and goes through SiLU; it
multiplies the other half; a second layer mixes the products.

    gate, value = halves of  W x + b
    y = V (SiLU(gate) * value) + c            SiLU(z) = z sigmoid(z)

Like `SwiGLUFFN` of the official DINOv2 (there the layers are w12 and w3).
"""

import torch


def swiglu(x, w, b, v, c):
    """x (B, N, D), w (2 M, D), b (2 M), v (D, M), c (D) -> (B, N, D)."""
    raise NotImplementedError
