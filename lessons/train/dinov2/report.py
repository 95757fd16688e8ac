"""What `python -m lessons.train dinov2 --evaluate` prints: do a picture's patches find the same object elsewhere?

Two scenes share a class. The patches on its sticker in the first scene look for the patch of the second that is most
like one of them, by cosine; the question is whether the pixel in the middle of that patch is the right sticker's. It is
where Matcher would click (lesson 5.2).
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

from lessons.stickers.questions import one_shot_pair
from lessons.stickers.scenes import draw
from lessons.stickers.splits import HELD_OUT, TEST, VAL, Split
from lessons.train import measures
from minimodels.clip import CLIP
from minimodels.dinov2 import DINOv2
from minimodels.pixels.preprocess import CLIP_MEAN, CLIP_STD
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD
from minimodels.stored import models
from minimodels.vit import ViT

COUNT = 500  # pairs of a row
BAR, ABOVE_UNTRAINED = 0.88, 0.15


class Exam(NamedTuple):
    """Pairs of scenes (N, 64, 64, 3) uint8, and whose pixels are asked for (N, 64, 64) bool in each."""

    references: np.ndarray
    wanted: Tensor
    targets: np.ndarray
    right: Tensor
    others: Tensor  # the target's other stickers, neither background nor right


def pairs(split: Split, count: int, hard: bool, start: int = 0) -> Exam:
    """`count` pairs of a split; `hard` ones have distractors of one size whose colours are alike."""
    columns: list[list] = [[], [], [], [], []]
    for number in range(start, start + count):
        (scene, chosen), (other_scene, other) = one_shot_pair(number, split, hard)
        (picture, owner), (target, target_owner) = draw(scene), draw(other_scene)
        right = target_owner == other + 1
        values = (picture, owner == chosen + 1, target, right, (target_owner > 0) & ~right)
        for column, value in zip(columns, values):
            column.append(value)
    stacks = [np.stack(column) for column in columns]
    masks = [torch.from_numpy(stacks[n]) for n in (1, 3, 4)]
    return Exam(stacks[0], masks[0], stacks[2], masks[1], masks[2])


# ---------------------------------------------------------------- features


def normalized(images: np.ndarray, model) -> Tensor:
    """Pictures (B, H, W, 3) uint8 as the model was trained to read them: (B, 3, H, W)."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if isinstance(model, DINOv2) else (CLIP_MEAN, CLIP_STD)
    levels = rearrange(torch.from_numpy(images), "b h w c -> b c h w").float() / 255
    return (levels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def enlarged(image: Tensor, times: int) -> Tensor:
    """Pictures so many times as large: more and smaller patches an object."""
    return image if times == 1 else F.interpolate(image, scale_factor=times, mode="bilinear", align_corners=False)


@torch.no_grad()
def all_layers(model, image: Tensor) -> list[Tensor]:
    """Patch tokens (B, N, D) after each block, before any last norm: of a DINOv2, a ViT, or a CLIP's image tower."""
    if isinstance(model, DINOv2):
        tokens = model.intermediate(image, len(model.blocks), norm=False)
        return [model.split(each)[2] for each in tokens]
    tower = model.image_tower if isinstance(model, CLIP) else model
    x = tower.embed(image, resize=True) if isinstance(model, CLIP) else tower.embed(image)
    layers = []
    for block in tower.blocks:
        x = block(x)
        layers.append(x[:, 1:])
    return layers


def exam_features(model, images: np.ndarray, times: int, piece: int = 50) -> list[Tensor]:
    """Unit vectors (N, patches, D) of each layer."""
    device = next(model.parameters()).device
    parts = []
    for n in range(0, len(images), piece):
        image = enlarged(normalized(images[n : n + piece], model).to(device), times)
        parts.append([F.normalize(layer, dim=-1).cpu() for layer in all_layers(model, image)])
    return [torch.cat(layer) for layer in zip(*parts)]


# ---------------------------------------------------------------- the measure


def on_object(wanted: Tensor, side: int) -> Tensor:
    """Patches (N, side^2) of which the object covers at least half; where there is none, those it covers most."""
    share = rearrange(F.adaptive_avg_pool2d(wanted.float()[:, None], side), "n 1 h w -> n (h w)")
    return share >= share.amax(dim=1, keepdim=True).clamp(max=0.5)


def centres(mask: Tensor, side: int) -> Tensor:
    """Whether the pixel in the middle of each patch is the mask's: (N, side^2)."""
    step = mask.shape[-1] // side
    return rearrange(mask[:, step // 2 :: step, step // 2 :: step], "n h w -> n (h w)")


def best_patch(reference: Tensor, target: Tensor, wanted: Tensor) -> Tensor:
    """The number of the target's patch that is most like one of the wanted reference patches: (N,)."""
    scores = einsum(reference, target, "n i d, n j d -> n i j").masked_fill(~wanted[:, :, None], -2)
    return scores.amax(dim=1).argmax(dim=1)


class Result(NamedTuple):
    """Of all pairs: the share whose best patch is on the right object, on another one, on the background; and the share
    of single reference patches whose nearest neighbour is on the right object."""

    right: float
    other: float
    ground: float
    each: float


def judge(reference: Tensor, target: Tensor, exam: Exam) -> Result:
    """Unit vectors (N, patches, D) of both scenes -> how often they find the object."""
    side = round(reference.shape[1] ** 0.5)
    wanted, right, others = on_object(exam.wanted, side), centres(exam.right, side), centres(exam.others, side)
    best = best_patch(reference, target, wanted)[:, None]
    hit, missed = right.gather(1, best).float(), others.gather(1, best).float()
    nearest = einsum(reference, target, "n i d, n j d -> n i j").argmax(dim=2)
    each = (right.gather(1, nearest) & wanted).sum(1) / wanted.sum(1)
    return Result(hit.mean().item(), missed.mean().item(), 1 - (hit + missed).mean().item(), each.mean().item())


def measure(model, exam: Exam, times: int) -> list[Result]:
    """One result a layer, of pictures enlarged so many times."""
    features = [exam_features(model, images, times) for images in (exam.references, exam.targets)]
    return [judge(reference, target, exam) for reference, target in zip(*features)]


# ---------------------------------------------------------------- the report

Candidate = tuple[str, object, int]  # name, model, how many times the picture is enlarged


def candidates(path: Path, device: str = "cpu") -> list[Candidate]:
    """The self-taught model, what the book already had, and both architectures before training.

    Those trained with patches of 8 pixels read pictures twice as large, so that all look at the same spots.
    """
    taught, vit = measures.open_weights(path, DINOv2, device), models.load("tiny-vit", device)
    torch.manual_seed(0)
    fresh = {type(model): type(model)(**model.about["arguments"]).eval().to(device) for model in (taught, vit)}
    return [
        ("tiny DINOv2, no labels", taught, 1),
        ("tiny ViT, 64 labels", vit, 2),
        ("tiny CLIP, captions", models.load("tiny-clip", device), 2),
        ("untrained DINOv2", fresh[DINOv2], 1),
        ("untrained ViT", fresh[ViT], 2),
    ]


def best_layer(model, times: int, count: int = 100) -> int:
    """The block whose patches find the object most often, plain and hard pairs together, on the validation split."""
    both = [measure(model, pairs(VAL, count, hard), times) for hard in (False, True)]
    return max(range(len(both[0])), key=lambda layer: both[0][layer].right + both[1][layer].right)


def rows(path: Path, device: str = "cpu", count: int = COUNT) -> list[dict]:
    """Every candidate at its best layer: plain pairs, hard pairs, held-out combinations."""
    exams = {"plain": pairs(TEST, count, False), "hard": pairs(TEST, count, True)}
    exams["held-out"] = pairs(HELD_OUT, count // 2, False)
    found = []
    for name, model, times in candidates(path, device):
        layer = best_layer(model, times)
        for exam_name, exam in exams.items():
            result = measure(model, exam, times)[layer]
            found.append({"model": name, "block": layer, "pairs": exam_name, **result._asdict()})
    return found


def bars(found: list[dict]) -> list[tuple[str, float, float]]:
    """What is asked of the best features there are: (bar, reached, needed)."""
    right = {(row["model"], row["pairs"]): row["right"] for row in found}
    trained = [row["model"] for row in found if not row["model"].startswith("untrained") and row["pairs"] == "plain"]
    best = max(trained, key=lambda name: right[name, "plain"] + right[name, "hard"])
    floor = max(value for (name, kind), value in right.items() if name.startswith("untrained") and kind == "hard")
    return [
        (f"{best}, plain pairs", right[best, "plain"], BAR),
        (f"{best}, hard pairs", right[best, "hard"], floor + ABOVE_UNTRAINED),
    ]


def report(path: Path, device: str = "cpu") -> tuple[Any, bool]:
    """Print the table; give its figures, and whether every bar is met."""
    found = rows(path, device)
    print(f"{COUNT} pairs of scenes, unseen seeds and backgrounds; the best matched patch is on ...")
    print(f"{'':24}{'block':>6}{'pairs':>10}{'right':>9}{'another':>9}{'ground':>9}{'each patch':>12}")
    for row in found:
        numbers = f"{row['right']:9.1%}{row['other']:9.1%}{row['ground']:9.1%}{row['each']:12.1%}"
        print(f"{row['model']:24}{row['block']:>6}{row['pairs']:>10}{numbers}")
    reached = bars(found)
    for name, value, needed in reached:
        print(f"{'OK  ' if value >= needed else 'MISS'} {name}: {value:.1%}, asked {needed:.1%}")
    return found, all(value >= needed for _, value, needed in reached)
