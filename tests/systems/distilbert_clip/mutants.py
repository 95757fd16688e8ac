"""Wrong CLIPs of two encoders: the heads, the soft targets, and what of the text is read."""

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints_convert.proof.mutants import Mutant, StandIn
from minimodels import bert, projected_clip
from minimodels.projected_clip import ProjectionHead

CASES = ("head_loss",)


def loss(
    image: Tensor,
    text: Tensor,
    temperature: float = 1.0,
    *,
    divided: bool = False,
    row_normalised: bool = False,
    transposed: bool = True,
    hard: bool = False,
    cosine: bool = False,
    sides: tuple[float, float] = (1.0, 1.0),
    text_alone: bool = False,
) -> Tensor:
    """The loss spelled out, with one thing wrong."""
    if cosine:
        image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    logits = text @ image.T / temperature
    alike = (sides[0] * image @ image.T + sides[1] * text @ text.T) / 2
    targets = (alike / temperature if divided else alike * temperature).softmax(dim=-1)
    targets = torch.eye(len(logits)).to(logits) if hard else targets
    other = targets.T if transposed else targets
    other = other / other.sum(dim=-1, keepdim=True) if row_normalised else other
    of_texts = F.cross_entropy(logits, targets)
    return of_texts if text_alone else (of_texts + F.cross_entropy(logits.T, other)) / 2


def wrong_loss(**wrong: object) -> StandIn:
    """A wrong loss in the place of ours."""
    return StandIn(
        projected_clip,
        "soft_target_loss",
        lambda image, text, temperature=1.0: loss(image, text, temperature, **wrong),
    )


def head(forward: object) -> StandIn:
    """Another way through the projection head."""
    return StandIn(ProjectionHead, "forward", forward)


def after_the_gelu(self: ProjectionHead, x: Tensor) -> Tensor:
    projected = F.gelu(self.fc1(x))
    return self.norm(projected + self.fc2(projected))


def no_shortcut(self: ProjectionHead, x: Tensor) -> Tensor:
    return self.norm(self.fc2(F.gelu(self.fc1(x))))


def norm_first(self: ProjectionHead, x: Tensor) -> Tensor:
    projected = self.norm(self.fc1(x))
    return projected + self.fc2(F.gelu(projected))


def no_norm(self: ProjectionHead, x: Tensor) -> Tensor:
    projected = self.fc1(x)
    return projected + self.fc2(F.gelu(projected))


def tanh_gelu(self: ProjectionHead, x: Tensor) -> Tensor:
    projected = self.fc1(x)
    return self.norm(projected + self.fc2(F.gelu(projected, approximate="tanh")))


MUTANTS = [
    Mutant("targets divided by the temperature", wrong_loss(divided=True), cases=CASES),
    Mutant("the transposed targets normalised", wrong_loss(row_normalised=True), cases=CASES),
    Mutant("the pictures' targets not transposed", wrong_loss(transposed=False), cases=CASES),
    Mutant("one right answer alone", wrong_loss(hard=True), cases=CASES),
    Mutant("cosines in place of products", wrong_loss(cosine=True), cases=CASES),
    Mutant("targets of the pictures alone", wrong_loss(sides=(2.0, 0.0)), cases=CASES),
    Mutant("similarities not halved", wrong_loss(sides=(2.0, 2.0)), cases=CASES),
    Mutant("the texts' half alone", wrong_loss(text_alone=True), cases=CASES),
    Mutant("the shortcut starts behind the GELU", head(after_the_gelu), cases=CASES),
    Mutant("no shortcut", head(no_shortcut), cases=CASES),
    Mutant("the norm comes first", head(norm_first), cases=CASES),
    Mutant("no norm", head(no_norm), cases=CASES),
    Mutant("the tanh GELU", head(tanh_gelu), cases=CASES),
    Mutant("tokens see the padding", StandIn(bert.BERT, "key_mask", lambda self, ids, mask: None), cases=CASES),
]
