"""Wrong CLIPS: what a CLIP does otherwise, one at a time."""

from functools import partial

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, become, each, inside, put
from checkpoints_convert.proof.references import Trial
from checkpoints_convert.proof.references.clips import TINY_TEXT, TINY_VISION, clipa
from minimodels.blocks import Attention, NewModule, QuickGELU
from minimodels.clips import CLIPS, LastTokenTower, MeanPooledTower

BESIDE = ("CLIPS", "open_clip")
CLIPA = Trial({"vision_cfg": clipa(TINY_VISION), "text_cfg": clipa(TINY_TEXT)}, batch=3)
BATCH = Trial(batch=3)


class ClassTokenPooled(MeanPooledTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.encode(image)[:, 0]))


class ClassTokenInTheMean(MeanPooledTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.encode(image).mean(dim=1)))


class NormBeforeTheMean(MeanPooledTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.encode(image)[:, 1:]).mean(dim=1))


class NoNorm(MeanPooledTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.encode(image)[:, 1:].mean(dim=1))


class LargestPatch(MeanPooledTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.encode(image)[:, 1:].amax(dim=1)))


class NormBeforeTheBlocks(MeanPooledTower):
    """CLIP's norm before the blocks, freshly made."""

    def embed(self, image: Tensor, *, resize: bool = False) -> Tensor:
        return nn.functional.layer_norm(super().embed(image, resize=resize), self.pos.shape[-1:])


class EndPooled(LastTokenTower):
    """The place of the largest id, as CLIP does."""

    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encode(ids)[torch.arange(len(ids)), ids.argmax(dim=-1)])


class FirstPooled(LastTokenTower):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encode(ids)[:, 0])


class MeanOfTokens(LastTokenTower):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encode(ids).mean(dim=1))


class PaddingCutOff(LastTokenTower):
    """Padding in the middle changed into another token, as if nobody looked at it."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids.where(ids != 0, 1))


class ScaleNotExponentiated(CLIPS):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        cosine = nn.functional.normalize(image, dim=-1) @ nn.functional.normalize(text, dim=-1).T
        return self.logit_scale * cosine


def activation(tower: str, new: NewModule) -> Change:
    """Another activation in every MLP of a tower."""
    return inside(f"{tower}.blocks", lambda block: setattr(block.mlp, "activation", new()))


MUTANTS = [
    Mutant("the class token is pooled", become(ClassTokenPooled), BESIDE, BATCH),
    Mutant("the class token is part of the mean", become(ClassTokenInTheMean), BESIDE, BATCH),
    Mutant("each patch is normalised before the mean", become(NormBeforeTheMean), BESIDE, BATCH),
    Mutant("no norm behind the mean", become(NoNorm), BESIDE, BATCH),
    Mutant("the largest patch is pooled", become(LargestPatch), BESIDE, BATCH),
    Mutant("a norm before the blocks", become(NormBeforeTheBlocks), BESIDE, BATCH),
    Mutant("the text tower is causal", inside("text_tower", each(Attention, put("causal", True))), BESIDE, BATCH),
    Mutant("the largest id's place is pooled", become(EndPooled), BESIDE, BATCH),
    Mutant("the first place is pooled", become(FirstPooled), BESIDE, BATCH),
    Mutant("the mean of all tokens is pooled", become(MeanOfTokens), BESIDE, BATCH),
    Mutant("padding is taken for a token that nobody sees", become(PaddingCutOff), BESIDE, BATCH),
    Mutant("the exact GELU in the text tower", activation("text_tower", nn.GELU), BESIDE, BATCH),
    Mutant("QuickGELU in the image tower", activation("image_tower", QuickGELU), BESIDE, BATCH),
    Mutant(
        "the tanh GELU in the image tower",
        activation("image_tower", partial(nn.GELU, approximate="tanh")),
        BESIDE,
        BATCH,
    ),
    Mutant("the tanh GELU in CLIPA", activation("text_tower", partial(nn.GELU, approximate="tanh")), BESIDE, CLIPA),
    Mutant("LayerNorm's epsilon is CLIP's 1e-5", each(nn.LayerNorm, put("eps", 1e-5)), BESIDE, BATCH),
    Mutant("CLIPA with the epsilon of CLIPS", each(nn.LayerNorm, put("eps", 1e-6)), BESIDE, CLIPA),
    Mutant("the scale is not exponentiated", become(ScaleNotExponentiated), BESIDE, BATCH),
]
