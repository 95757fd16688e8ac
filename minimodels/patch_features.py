"""Patch features for Matcher out of a ViT, or of a CLIP's image tower, stopped at one of its blocks (lesson 5.2).

Early blocks still know where each patch is and what it looks like; the last ones know what the picture is about.

Notation: B batch    N patches    D width of the tower
"""

from jaxtyping import Float
from torch import Tensor, nn

from minimodels.clip import CLIP, ImageTower
from minimodels.errors import UserError
from minimodels.vit import ViT


class PatchFeatures(nn.Module):
    """Patch tokens after one block, before any last norm: what `Matcher` asks of its features.

    Args:
        model: a `ViT`, or a `CLIP` with a ViT as image tower.
        block: which block's output, counted from 0; those behind it are not run.

    Raises:
        UserError: another model, or no such block.
    """

    def __init__(self, model: nn.Module, block: int):
        super().__init__()
        tower = model.image_tower if isinstance(model, CLIP) else model
        if not isinstance(tower, ViT | ImageTower):
            raise UserError(f"a {type(model).__name__} has no patch tokens to take; give a ViT or a CLIP with one")
        if not 0 <= block < len(tower.blocks):
            raise UserError(f"there is no block {block}: this tower has {len(tower.blocks)}, counted from 0")
        self.tower, self.block, self.patch_size = tower, block, tower.patch_size
        self.side = tower.grid[0]  # patches a side that its positions were trained for

    def patch_features(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch patches dim"]:
        """(B, N, D) of normalised pictures of any size that can be cut into patches, row by row."""
        tower = self.tower
        x = tower.embed(image, resize=True) if isinstance(tower, ImageTower) else tower.embed(image)
        for block in tower.blocks[: self.block + 1]:
            x = block(x)
        return x[:, x.shape[1] - self.patches(image) :]  # without the class token

    def patches(self, image: Float[Tensor, "batch 3 height width"]) -> int:
        """N of such pictures."""
        return (image.shape[-2] // self.patch_size) * (image.shape[-1] // self.patch_size)
