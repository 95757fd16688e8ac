"""4.1.2  FiLM: a prompt turns the channels  (10 minutes, difficulty 2 of 5)

Feature-wise linear modulation: from the prompt, one linear layer makes a
factor for each channel, another one makes an offset for each channel. Every
token of a picture is multiplied by its picture's factors, then its offsets
are added (Dumoulin et al. 2018; CLIPSeg's `film_mul` and `film_add`). The
prompt is used as it comes, not normalised. Weights are stored as in
torch.nn.Linear: (D, E).
"""

import torch
import torch.nn.functional as F


def film(x, prompt, mul_weight, mul_bias, add_weight, add_bias):
    """x (B, N, D), prompt (B, E), weights (D, E), biases (D) -> (B, N, D)."""
    raise NotImplementedError
