"""A CLIPSeg in miniature, pictures and texts for it, and the reference."""

import torch

from checkpoints_convert.proof.references.clipseg import TINY
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import redraw_all
from minimodels.clipseg import CLIPSeg
from minimodels.stored import models

REFERENCE = reference_named("CLIPSeg", "transformers")


# As the tiny CLIP of the book: nothing may be made for ViT-B/16 alone.
SMALL_CLIP = {
    "embed_dim": 20, "image_size": 32, "patch_size": 8, "vision_width": 24, "vision_depth": 4, "vision_heads": 3,
    "text_width": 16, "text_depth": 2, "text_heads": 2, "context_length": 9, "vocab_size": 60,
}  # fmt: skip


def of_clip(**changes) -> dict:
    """The part of CLIPSeg's arguments that tells its CLIP."""
    return {"class": "CLIP", "arguments": {**SMALL_CLIP, **changes}}


SMALL = {
    "clip": of_clip(),
    "extract_layers": (0, 1, 3), "reduce_dim": 12, "decoder_heads": 3, "decoder_mlp_dim": 32,
}  # fmt: skip


def small(seed: int = 0, **changes) -> CLIPSeg:
    return redraw_all(models.make("CLIPSeg", {**SMALL, **changes}), seed).double()


def pair(sizes=TINY, seed: int = 0):
    """transformers' model and ours with the same redrawn weights, in float64."""
    theirs = redraw_all(REFERENCE.build(**sizes), seed).double()
    return theirs, REFERENCE.ours(theirs, sizes)


def words(rows: int, context: int = 9, end: int = 59, seed: int = 0) -> torch.Tensor:
    ids = torch.randint(1, end - 1, (rows, context), generator=torch.Generator().manual_seed(seed))
    ids[:, 4] = end
    ids[:, 5:] = 0
    return ids


def pictures(count: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
