"""Other right answers to the exercises of lesson 3.13."""

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


@honest("3.13.1")
def projection_head(features, w1, b1, w2, b2, gain, offset):
    first = F.linear(features, w1, b1)
    bent = first * 0.5 * (1 + torch.erf(first / 2**0.5))
    x = F.linear(bent, w2, b2) + first
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * gain + offset


@honest("3.13.2")
def soft_targets(image, text, temperature):
    both = torch.cat([image, text], dim=-1) * (temperature / 2) ** 0.5
    return torch.softmax(both @ both.T, dim=1)


@honest("3.13.3")
def soft_target_loss(image, text, temperature):
    logits = text @ image.T / temperature
    both = torch.cat([image, text], dim=-1) * (temperature / 2) ** 0.5
    targets = torch.softmax(both @ both.T, dim=1)
    return -(targets * (logits.log_softmax(0) + logits.log_softmax(1))).sum() / (2 * len(logits))
