"""A LAVT in miniature, and pictures and sentences for it."""

import torch

from checkpoints_convert.proof.verify import redraw_all
from minimodels.lavt import LAVT
from minimodels.stored import models
from tests.systems.lavt import golden

# Nothing may be made for four stages, patches of 4 or words of 768 alone.
SMALL = golden.SMALL


def small(seed: int = 0, **changes) -> LAVT:
    return redraw_all(models.make("LAVT", {**SMALL, **changes}), seed).double().eval()


def given(batch: int = 2, height: int = 21, width: int = 30, tokens: int = 7, seed: int = 0):
    """A picture, token numbers and their mask; each sentence has another length."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)
    ids = torch.randint(5, 30, (batch, tokens), generator=generator)
    mask = (torch.arange(tokens) < tokens - torch.arange(batch)[:, None]).long()
    return image, ids * mask, mask
