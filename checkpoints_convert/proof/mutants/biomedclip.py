"""Wrong BiomedCLIPs: poolers, projections, masks, token types, the towers' own numbers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, become, clear, each, forget, inside, put
from checkpoints_convert.proof.references import Trial
from minimodels.biomedclip import BiomedCLIP, ProjectedBERT, ProjectedViT

BESIDE, BATCH = ("BiomedCLIP", "open_clip"), Trial(batch=3)


class MeanOfPatches(ProjectedViT):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.vit.encode(image)[:, 1:].mean(dim=1))


class ReadsTokens(ProjectedBERT):
    """Projects what `pooled` takes of the tokens."""

    pooled: Callable[[Tensor, Tensor], Tensor]

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(self.pooled(self.bert(ids, ids != self.pad), ids))))


class MeanOfTokens(ReadsTokens):
    @staticmethod
    def pooled(tokens: Tensor, ids: Tensor) -> Tensor:
        return tokens.mean(dim=1)


class LastToken(ReadsTokens):
    @staticmethod
    def pooled(tokens: Tensor, ids: Tensor) -> Tensor:
        return tokens[:, -1]


class TanhPooler(ReadsTokens):
    """As BERT's own pooler ends."""

    @staticmethod
    def pooled(tokens: Tensor, ids: Tensor) -> Tensor:
        return torch.tanh(tokens[:, 0])


class PaddingSeen(ProjectedBERT):
    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(self.bert(ids)[:, 0])))


class NoHiddenActivation(ProjectedBERT):
    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.bert(ids, ids != self.pad)[:, 0]))


class SecondType(ProjectedBERT):
    """The tokens take the second row of the type table."""

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.bert(ids, ids != self.pad, torch.ones_like(ids))
        return self.fc2(self.activation(self.fc1(tokens[:, 0])))


class OtherLogits(BiomedCLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale * (F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T)


class DotProducts(BiomedCLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale.exp() * (image @ text.T)


def epsilon(tower: str, value: float) -> Change:
    """Another epsilon in every LayerNorm of a tower."""
    return inside(tower, each(nn.LayerNorm, put("eps", value)))


MUTANTS = [
    Mutant("the mean of the patches is pooled", become(MeanOfPatches), BESIDE, BATCH),
    Mutant("the mean of the tokens is pooled", become(MeanOfTokens), BESIDE, BATCH),
    Mutant("the last token is pooled", become(LastToken), BESIDE, BATCH),
    Mutant("a tanh as in BERT's pooler", become(TanhPooler), BESIDE, BATCH),
    Mutant("tokens see the padding", become(PaddingSeen), BESIDE, BATCH),
    Mutant("no GELU between the two matrices", become(NoHiddenActivation), BESIDE, BATCH),
    Mutant("ReLU between the two matrices", inside("text_tower", put("activation", nn.ReLU())), BESIDE, BATCH),
    Mutant("the second token type", become(SecondType), BESIDE, BATCH),
    Mutant("the token types were never loaded", clear("text_tower.bert.token_type"), BESIDE, BATCH),
    Mutant("the image encoder's last norm is left out", forget("image_tower.vit.norm"), BESIDE, BATCH),
    Mutant("the text encoder's first norm is left out", forget("text_tower.bert.norm"), BESIDE, BATCH),
    Mutant("BERT's epsilon is the ViT's 1e-6", epsilon("text_tower", 1e-6), BESIDE, BATCH),
    Mutant("the ViT's epsilon is BERT's 1e-12", epsilon("image_tower", 1e-12), BESIDE, BATCH),
    Mutant("the scale is not exponentiated", become(OtherLogits), BESIDE, BATCH),
    Mutant("dot products in place of cosines", become(DotProducts), BESIDE, BATCH),
]
