"""A tiny DINOv2 learns from Sticker World without labels: `python -m lessons.train dinov2`.

Caron et al. 2021 (DINO), Zhou et al. 2022 (iBOT), Oquab et al. 2024 (DINOv2), sections 3 and 4, as small as it goes. A
student sees crops of a scene and says what a teacher would say of other crops of it; the teacher is the student's own
moving average. Two losses: the class token of each crop must agree with the teacher's of another crop (DINO), and each
patch with the teacher's patch that shows the same spot of the scene in the other crop, some of the student's patches
hidden (iBOT's loss, across crops, so that size, tilt and colour stop to matter).
"""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lessons.stickers import exams
from lessons.stickers.scenes import GRID
from lessons.stickers.splits import VAL
from lessons.train import loop
from lessons.train.dinov2 import report
from minimodels.dinov2 import DINOv2
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess

NUMBERS = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 128,
    "depth": 3,
    "num_heads": 2,
    "mlp_dim": 512,
    "position_offset": 0.0,
    "antialias": False,
}
PROTOTYPES, BOTTLENECK = 512, 64
GLOBAL, LOCAL, LOCALS = 32, 16, 2  # pixels a side of the two large crops and of the small ones, and how many of these
GLOBAL_SIDE, LOCAL_SIDE = (0.4, 0.7), (0.2, 0.35)  # how much of the scene's side they show
STUDENT_HEAT, TEACHER_HEAT = 0.1, 0.05  # temperatures: the teacher's answers are sharper
MOMENTUM = 0.99  # of the teacher at the start; 1 at the end
MASKED = 0.3  # share of a student's patches hidden
MATRIX_RATE, OTHER_RATE = 0.004, 0.002


# ---------------------------------------------------------------- crops


def draw_views(count: int, sides: tuple[float, float], dice: torch.Generator) -> Float[Tensor, "count 2 3"]:
    """Random crops as affine maps from a crop's coordinates to the scene's, both -1 to 1: size, place, tilt, mirror."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=dice)

    side, tilt = uniform(*sides), uniform(-math.pi / 12, math.pi / 12)
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float()
    x, y = ((1 - side) * uniform(-1, 1) for _ in range(2))
    cos, sin = side * tilt.cos(), side * tilt.sin()
    rows = [torch.stack([cos * mirror, -sin, x], dim=1), torch.stack([sin * mirror, cos, y], dim=1)]
    return torch.stack(rows, dim=1)


def crop(
    image: Float[Tensor, "batch 3 height width"], views: Float[Tensor, "batch 2 3"], size: int
) -> Float[Tensor, "batch 3 size size"]:
    """What each view shows."""
    grid = F.affine_grid(views, (len(image), 3, size, size), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def recolour(image: Float[Tensor, "batch 3 size size"], dice: torch.Generator) -> Float[Tensor, "batch 3 size size"]:
    """Other light: channels mixed a little, brightness and contrast changed, one in ten without colour."""
    count = len(image)
    mix = torch.eye(3) + 0.12 * torch.randn(count, 3, 3, generator=dice)
    mix[torch.rand(count, generator=dice) < 0.1] = 1 / 3
    gain = 1 + 0.3 * (2 * torch.rand(count, 1, 1, 1, generator=dice) - 1)
    shift = 0.3 * torch.randn(count, 1, 1, 1, generator=dice)
    mixed = torch.bmm(mix, rearrange(image, "b c h w -> b c (h w)"))
    return gain * rearrange(mixed, "b c (h w) -> b c h w", h=image.shape[-2]) + shift


def same_spot(
    mine: Float[Tensor, "batch 2 3"], other: Float[Tensor, "batch 2 3"], side: int
) -> tuple[Int[Tensor, "batch patches"], Bool[Tensor, "batch patches"]]:
    """For each patch of one view the number of the other view's patch on the same spot, and whether there is one.

    Both views are cut into `side` x `side` patches.
    """
    middle = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    spots = torch.stack([x.flatten(), y.flatten()])  # (2, N) in the view's coordinates
    scene = mine[:, :, :2] @ spots + mine[:, :, 2:]  # (B, 2, N)
    there = torch.linalg.solve(other[:, :, :2], scene - other[:, :, 2:])  # (B, 2, N)
    cell = ((there + 1) / 2 * side).floor().long()
    inside = ((cell >= 0) & (cell < side)).all(dim=1)
    cell = cell.clamp(0, side - 1)
    return cell[:, 1] * side + cell[:, 0], inside


# ---------------------------------------------------------------- what is compared


class Head(nn.Module):
    """From a token to logits over prototypes: a small MLP, a unit vector, its cosine with each prototype."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(embed_dim, 256), nn.GELU(), nn.Linear(256, BOTTLENECK))
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, BOTTLENECK))

    def forward(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch prototypes"]:
        return F.normalize(self.mlp(tokens), dim=-1) @ F.normalize(self.prototypes, dim=-1).T


class Seer(nn.Module):
    """A tiny DINOv2 and its two heads: what student and teacher both are."""

    def __init__(self):
        super().__init__()
        self.backbone = DINOv2(**NUMBERS)
        self.class_head, self.patch_head = Head(NUMBERS["embed_dim"]), Head(NUMBERS["embed_dim"])


def sinkhorn(
    logits: Float[Tensor, "samples prototypes"], heat: float, rounds: int = 3
) -> Float[Tensor, "samples prototypes"]:
    """The teacher's answers as distributions, over all samples each prototype equally often (DINOv2, section 4).

    Without it, the easiest agreement is that every picture gets the same prototype.
    """
    shares = ((logits - logits.max()) / heat).exp()
    rows, share = torch.ones(len(shares), device=shares.device), shares.shape[0] / shares.shape[1]
    for _ in range(rounds):
        columns = share / (rows @ shares).clamp(min=1e-9)  # each prototype as often as any other
        rows = 1 / (shares @ columns)  # each sample's shares sum to one
    return rows[:, None] * shares * columns


def agree(student: Float[Tensor, "*batch prototypes"], teacher: Float[Tensor, "*batch prototypes"]) -> Tensor:
    """Cross entropy of the student's answers with the teacher's, one number a sample."""
    return -(teacher * F.log_softmax(student.float() / STUDENT_HEAT, dim=-1)).sum(dim=-1)


# ---------------------------------------------------------------- the run


class Trainer(loop.Trainer):
    """A student, the teacher that follows it, and crops of scenes, each seen once."""

    STEPS, BATCH, EVERY = 3000, 64, 200

    def __init__(self, settings: loop.Settings):
        super().__init__(settings)
        self.about |= {"prototypes": PROTOTYPES, **NUMBERS}
        self.student = Seer().to(self.device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.model = nn.ModuleDict({"student": self.student, "teacher": self.teacher})
        self.encode = self.faster(self.student.backbone.encode)
        self.optimizers = loop.make_optimizers(self.student, MATRIX_RATE, OTHER_RATE)

    def crops(self, number: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Two large and some small crops of this step's scenes, each in its own light; the large ones' views; masks."""
        scenes = exams.training_scenes(self.scenes(number), 0.2)
        norm = TensorPreprocess(GRID)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (norm.mean, norm.std))
        image = (rearrange(torch.from_numpy(scenes.images), "b h w c -> b c h w").float() / 255 - mean) / std
        dice = self.dice(number)
        views = [draw_views(self.batch, GLOBAL_SIDE, dice) for _ in range(2)]
        small = [draw_views(self.batch, LOCAL_SIDE, dice) for _ in range(LOCALS)]
        large = [recolour(crop(image, view, GLOBAL), dice) for view in views]
        little = [recolour(crop(image, view, LOCAL), dice) for view in small]
        patches = (GLOBAL // NUMBERS["patch_size"]) ** 2
        masked = torch.rand(2 * self.batch, patches, generator=dice) < MASKED
        return large + little, views, masked

    def loss(self, number: int) -> tuple[Tensor, Tensor]:
        """The class tokens' and the patches' disagreement."""
        crops, views, masked = self.crops(number)
        large, small = torch.cat(crops[:2]).to(self.device), torch.cat(crops[2:]).to(self.device)
        mine, there = self.matches(views)
        with torch.no_grad():
            known = self.teacher.backbone.encode(large)
            class_target = sinkhorn(self.teacher.class_head(known.class_token).float(), TEACHER_HEAT).chunk(2)
            patch_target = sinkhorn(self.teacher.patch_head(known.patches.flatten(0, 1)[there]).float(), TEACHER_HEAT)
        seen, glimpsed = self.encode(large, masked.to(self.device)), self.encode(small)
        answers = self.student.class_head(torch.cat([seen.class_token, glimpsed.class_token])).split(self.batch)
        pairs = [(a, t) for a in range(len(answers)) for t in range(2) if a != t]
        class_loss = torch.stack([agree(answers[a], class_target[t]) for a, t in pairs]).mean()
        patch_loss = agree(self.student.patch_head(seen.patches.flatten(0, 1)[mine]), patch_target).mean()
        return class_loss, patch_loss

    def matches(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of all patches of both large crops, counted through: those that see a spot the other crop sees too, and the
        other crop's patch there."""
        side = GLOBAL // NUMBERS["patch_size"]
        count = self.batch * side * side
        own, other = torch.arange(count), torch.arange(self.batch)[:, None] * side * side
        mine, there = [], []
        for one in range(2):
            spot, inside = same_spot(views[one], views[1 - one], side)
            mine.append((one * count + own)[inside.flatten()])
            there.append(((1 - one) * count + other + spot)[inside])
        return torch.cat(mine).to(self.device), torch.cat(there).to(self.device)

    def step(self, number: int) -> dict[str, float]:
        """One step on scenes that no other step has seen."""
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                class_loss, patch_loss = self.loss(number)
            (class_loss + patch_loss).backward()
        loop.update(self.student, self.optimizers)
        self.follow(number)
        return {"loss": (class_loss + patch_loss).item(), "patch_loss": patch_loss.item(), "rate": factor}

    @torch.no_grad()
    def follow(self, number: int) -> None:
        """The teacher becomes a little more like the student; less and less so towards the end."""
        momentum = 1 - (1 - MOMENTUM) * 0.5 * (1 + math.cos(math.pi * number / self.steps))
        for theirs, ours in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            theirs.lerp_(ours, 1 - momentum)

    def validate(self) -> dict[str, float]:
        """Best patch on the right object, on the validation split: after each block, plain and hard."""
        values = {}
        for name, hard in (("plain", False), ("hard", True)):
            results = report.measure(self.teacher.backbone, report.pairs(VAL, 100, hard), 1)
            values |= {f"{name}_{layer}": result.right for layer, result in enumerate(results)}
            values[f"{name}_each"] = results[-1].each
        return values

    def trained(self) -> nn.Module:
        """The teacher, without its heads."""
        return self.teacher.backbone

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return {
            "system": "dinov2",
            "class": "DINOv2",
            "arguments": NUMBERS,
            "preprocess": preprocess_to_dict(TensorPreprocess(GRID)),
            "trained_on": "Sticker World, split train, without labels",
        }
