"""Other right answers to the exercises of lesson 3.10."""

import numpy as np
import torch

from tests.lessons.alternatives import honest


@honest("3.10.1")
def patches_of_box(box, height, width, size, patch):
    """Whole numbers: a ceiling is a floor of the negative."""

    def place(corner, side):
        return max(-(-corner * size // (side * patch)) - 1, 0)

    left, top, right, bottom = box
    return place(top, height), place(bottom, height), place(left, width), place(right, width)


@honest("3.10.2")
def fovea(rows, columns, alpha, sigma):
    """Two bells, one an axis: the exponential of a sum is a product."""
    y, x = (torch.linspace(-(n - 1) / 2, (n - 1) / 2, n, dtype=torch.float64) for n in (rows, columns))
    bell = torch.outer((-y.square() / (2 * sigma**2)).exp(), (-x.square() / (2 * sigma**2)).exp())
    span = bell.amax() - bell.amin()
    return {"bell": bell, "mask": alpha - alpha * (bell.amax() - bell) / (span + 1e-6)}


@honest("3.10.3")
def foveal_attention(q, k, v, mask):
    """The class token's row apart; the weights multiplied by exp(mask), then made to sum to one."""
    weights = torch.einsum("hid,hjd->hij", q, k).div(np.sqrt(q.shape[-1])).softmax(dim=2)
    first = weights[:, :1] * mask.exp()
    weights = torch.cat([first / first.sum(dim=-1, keepdim=True), weights[:, 1:]], dim=1)
    return {"weights": weights, "mixed": torch.einsum("hij,hjd->hid", weights, v)}


@honest("3.10.4")
def choose(scores, bank):
    """Every difference with the bank, then their mean."""
    left = (scores[:, None] - bank[None]).mean(dim=1)
    shares = torch.exp(left - left.logsumexp(dim=1, keepdim=True))
    return {"left": left, "probabilities": shares, "best": shares.max(dim=1).indices}
