"""Wrong CLIPs of two ready encoders: what is pooled, which epsilon, the heads, logits and targets.

Wrong heads and losses stand beside the golden case too, in the tests of the system.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, StandIn, become, each, forget, inside, put, swap
from checkpoints_convert.proof.references import Trial
from minimodels import projected_clip
from minimodels.projected_clip import ProjectedCLIP, ProjectedText, ProjectionHead
from minimodels.resnet import ResNet
from minimodels.vit import ViT

VIT, RESNET = ("Projected CLIP, ViT", "OpenAI-CLIP"), ("Projected CLIP, ResNet", "OpenAI-CLIP")
BATCH, WARM = Trial(batch=3), Trial({"temperature": 2.5}, batch=4)


class MeanOfTokens(ProjectedText):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encoder(ids, ids != self.pad).mean(dim=1))


class LastToken(ProjectedText):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encoder(ids, ids != self.pad)[:, -1])


class PaddingSeen(ProjectedText):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encoder(ids)[:, 0])


class ShortcutBehindTheGELU(ProjectionHead):
    def forward(self, features: Tensor) -> Tensor:
        projected = F.gelu(self.fc1(features))
        return self.norm(projected + self.fc2(projected))


class NoShortcut(ProjectionHead):
    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.fc2(F.gelu(self.fc1(features))))


class TanhGELU(ProjectionHead):
    def forward(self, features: Tensor) -> Tensor:
        projected = self.fc1(features)
        return self.norm(projected + self.fc2(F.gelu(projected, approximate="tanh")))


class Cosines(ProjectedCLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T / self.temperature


class LearnedScale(ProjectedCLIP):
    """As CLIP has it."""

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale.exp() * (F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T)


class Multiplied(ProjectedCLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return image @ text.T * self.temperature


class ClassToken(ViT):
    def forward(self, image: Tensor) -> Tensor:
        return self.pool_norm(self.encode(image)[:, 0])


class MaxPooled(ResNet):
    def forward(self, image: Tensor) -> Tensor:
        return self.maps(image)[-1].amax(dim=(2, 3))


def divided(image: Tensor, text: Tensor, temperature: float = 1.0) -> Tensor:
    """Targets divided by the temperature, as the logits are."""
    logits = text @ image.T / temperature
    targets = ((image @ image.T + text @ text.T) / 2 / temperature).softmax(dim=-1)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets.T)) / 2


def not_transposed(image: Tensor, text: Tensor, temperature: float = 1.0) -> Tensor:
    """The pictures' half with the texts' targets."""
    logits = text @ image.T / temperature
    targets = ((image @ image.T + text @ text.T) / 2 * temperature).softmax(dim=-1)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def detached(image: Tensor, text: Tensor, temperature: float = 1.0) -> Tensor:
    """No gradient flows through the targets."""
    logits = text @ image.T / temperature
    targets = ((image @ image.T + text @ text.T) / 2 * temperature).softmax(dim=-1).detach()
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets.T)) / 2


def epsilon(part: str, value: float, kind: type[nn.Module] = nn.LayerNorm) -> Change:
    """Another epsilon in every norm of a part."""
    return inside(part, each(kind, put("eps", value)))


def loss(wrong: object) -> StandIn:
    """Another loss in the place of ours."""
    return StandIn(projected_clip, "soft_target_loss", wrong)


def swapped_heads(model: nn.Module) -> None:
    """Each head behind the other encoder; both are as wide in the tiny sizes."""
    image, text = model.get_submodule("image_tower"), model.get_submodule("text_tower")
    image.proj, text.proj = text.proj, image.proj


SWAPPED = inside("text_tower.encoder.blocks.0", swap("norm1", "norm2"))
MUTANTS = [
    Mutant("the mean of the tokens is read", become(MeanOfTokens), VIT, BATCH),
    Mutant("the last token is read", become(LastToken), VIT, BATCH),
    Mutant("tokens see the padding", become(PaddingSeen), VIT, BATCH),
    Mutant("the class token in place of the mean", become(ClassToken), VIT, BATCH),
    Mutant("the largest in place of the mean", become(MaxPooled), RESNET, BATCH),
    Mutant("the shortcut starts behind the GELU", become(ShortcutBehindTheGELU), VIT, BATCH),
    Mutant("no shortcut", become(NoShortcut), RESNET, BATCH),
    Mutant("the tanh GELU in the heads", become(TanhGELU), VIT, BATCH),
    Mutant(
        "the norms of a block of DistilBERT change places",
        SWAPPED,
        VIT,
        BATCH,
    ),
    Mutant("the heads change places", swapped_heads, VIT, BATCH),
    Mutant("no norm behind the image's head", forget("image_tower.proj.norm"), RESNET, BATCH),
    Mutant("the heads' epsilon is DistilBERT's", epsilon("image_tower.proj", 1e-12), VIT, BATCH),
    Mutant("DistilBERT's epsilon is the ViT's", epsilon("text_tower.encoder", 1e-6), VIT, BATCH),
    Mutant("the ViT's epsilon is DistilBERT's", epsilon("image_tower.encoder", 1e-12), VIT, BATCH),
    Mutant("another epsilon in the ResNet", epsilon("image_tower.encoder", 1e-3, nn.BatchNorm2d), RESNET, BATCH),
    Mutant("the words' first norm is left out", forget("text_tower.encoder.norm"), VIT, BATCH),
    Mutant("cosines in place of products", become(Cosines), VIT, BATCH),
    Mutant("a scale of the cosine, as CLIP's", become(LearnedScale), VIT, BATCH),
    Mutant("logits multiplied by the temperature", become(Multiplied), VIT, WARM),
    Mutant("targets divided by the temperature", loss(divided), VIT, WARM),
    Mutant("the pictures' targets not transposed", loss(not_transposed), VIT, WARM),
    Mutant("no gradient through the targets", loss(detached), VIT, WARM),
]
