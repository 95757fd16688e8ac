"""`python -m minimodels match`: where in these pictures is the object marked in that one? (lessons 5.2 and 5.3)."""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor, nn

from minimodels import matcher
from minimodels.clip import CLIP
from minimodels.errors import UserError
from minimodels.matcher import Matcher, Result
from minimodels.pixels.drawing import COLOURS, overlay, picture_sheet
from minimodels.pixels.opening import check_output, open_image, save_picture
from minimodels.sam import SAM
from minimodels.stored import tiny_matcher
from minimodels.terminal import door
from minimodels.terminal.parser import finite, seed, whole_number
from minimodels.terminal.printing import notice, printable, waiting
from minimodels.vit import ViT
from minimodels.words.templates import sticker_model

DEFAULT = "tiny-matcher"
OFFICIAL = "facebook/dinov2-large,facebook/sam-vit-huge"
PICTURE, NO_MASK = "matches.png", "-"
MANY_PATCHES, MOST_PATCHES = 48**2, 128**2  # from where it takes minutes; similarities of the most take 1 GB
SHOWN = 384  # pixels a side of the pictures that are drawn
SETTINGS: dict[str, dict] = {
    "semantic": matcher.SEMANTIC,
    "whole": matcher.WHOLE_OBJECT,
    "part": matcher.PART,
    "stickers": tiny_matcher.NUMBERS,
}
EXAMPLES = """
examples:
  python -m minimodels match ref.png mask.png target.png
  python -m minimodels match ref.png mask.png a.png b.png c.png --masks masks/
  python -m minimodels match ref.png mask.png target.png --both-ways
  python -m minimodels match ref.png target.png --both-ways
  python -m minimodels match cat.jpg cat_mask.png other_cat.jpg --model dinov2_vitl14_pretrain.pth,sam_vit_h_4b8939.pth

With two pictures, or with - for the mask, the middle of the first picture is
what is looked for. Both ways: the first picture marks the second, then the
second marks the first with what was found; the IoU of the two masks of the
first picture says how far the round trip can be trusted.

Without --model it is tiny-matcher: patches of the book's small CLIP and its
small SAM, which know the stickers of Sticker World and no photographs.
"""


class Shown(NamedTuple):
    """A picture, at its own size and as the model reads it; `path` as it was typed."""

    path: str
    name: str
    picture: Image.Image
    pixels: Float[Tensor, "3 side side"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = "%(prog)s REF MASK TARGET [TARGET ...] [options]\n       %(prog)s REF TARGET [options]"
    parser.description = "One picture with one object marked; Matcher finds the object in others, without any training."
    parser.epilog = EXAMPLES
    add = parser.add_argument
    add("reference", metavar="REF", help="a picture that shows the object")
    add("others", nargs="+", metavar="MASK TARGET", help="REF's mask, white where the object is, or -; then pictures")
    add("--both-ways", action="store_true", help="mark REF in turn by what was found, and print how well that agrees")
    add("--setting", choices=SETTINGS, help="things of a kind, one whole object, or a part of one")
    add("--least", type=finite, metavar="SCORE", help="a best score below it means that the object is not there")
    add("--size", type=whole_number, metavar="N", help="pixels a side that the pictures are resized to")
    add("--seed", type=seed, default=0, metavar="N", help="of the points that SAM is asked at (default 0)")
    add("--masks", metavar="DIR", help="write each mask there as a PNG of the picture's size")
    add("-o", "--output", default=PICTURE, metavar="FILE", help=f"picture with masks and matches (default {PICTURE})")
    door.add_model_options(parser, default=DEFAULT, official=OFFICIAL)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Match, print, write the pictures, and return the exit code."""
    mask_path, targets = sort_paths(options.others)
    inputs = [options.reference, *targets, *([mask_path] if mask_path else [])]
    output = check_output(options.output, *inputs)
    if options.masks:
        check_masks(Path(options.masks), targets, inputs)
    picture = open_image(options.reference)
    mask = read_mark(mask_path, picture, options.reference)
    pictures = [open_image(path) for path in targets]
    model, side, stickers = load_matcher(options)
    if stickers and not all(door.like_a_scene(each) for each in (picture, *pictures)):
        notice(
            "the tiny weights know only the stickers of Sticker World, on photographs they guess. For those: "
            f"--model {OFFICIAL}, or two files: --model DINOV2_FILE,SAM_FILE"
        )
    shown = [  # in float32 whatever --dtype: SAM is shown all 256 levels of a colour
        Shown(path, Path(path).name, each, to_square(each, side).to(options.device))
        for path, each in zip([options.reference, *targets], [picture, *pictures])
    ]
    sheets = [answer(model, options, shown[0], mask, target) for target in shown[1:]]
    tiles, captions = zip(*(tile for sheet in sheets for tile in sheet))
    save_picture(picture_sheet(tiles, captions, columns=len(sheets[0]), cell=SHOWN), output)
    print(f"wrote {printable(str(output))}")
    return 0


def mask_file(folder: Path, target: str) -> Path:
    """Where the mask of a target is written: NAME-mask.png."""
    return folder / f"{Path(target).stem}-mask.png"


def check_masks(folder: Path, targets: Sequence[str], inputs: Sequence[str]) -> None:
    """Each target's mask gets a file of its own, and none takes the place of a picture that is read.

    Raises:
        UserError: one would be lost.
    """
    files = [mask_file(folder, target) for target in targets]
    for number, file in enumerate(files):
        check_output(file, *inputs)
        if file in files[:number]:
            twice = f"{targets[files.index(file)]} and {targets[number]}"
            raise UserError(f"the masks of {twice} would both be {file.name}: rename one, or match them one by one")


def sort_paths(paths: list[str]) -> tuple[str | None, list[str]]:
    """The mask, if there is one, and the targets.

    Raises:
        UserError: a mask alone.
    """
    if len(paths) == 1 and paths[0] == NO_MASK:
        raise UserError("there is no picture to look in; write it behind: match REF MASK TARGET")
    if len(paths) == 1:
        return None, paths
    return (None if paths[0] == NO_MASK else paths[0]), paths[1:]


def read_mark(path: str | None, picture: Image.Image, shown: str) -> Bool[Tensor, "height width"] | None:
    """The mask of the reference; None stands for its middle.

    Raises:
        UserError: it cannot be read, has another size, or is all black.
    """
    if path is None:
        notice("no mask is given: the middle of the first picture is what is looked for")
        return None
    mask = door.read_mask(path, picture, shown)
    if mask.all():
        notice(f"{path} marks the whole picture: no match can be told from an outlier, the way back keeps all of them")
    return mask


# ---------------------------------------------------------------- the model


def load_matcher(options: argparse.Namespace) -> tuple[Matcher, int, bool]:
    """Matcher from two models, in eval mode on their device, the side of the squares it reads, and whether it knows
    stickers only.

    Raises:
        UserError: not two models, or not these two kinds.
    """
    names = tiny_matcher.PARTS if options.model == DEFAULT else tuple(options.model.split(","))
    if len(names) != 2 or not all(names):
        raise UserError(f"--model {options.model}: give {DEFAULT}, or a DINOv2 and a SAM with a comma between them")
    parts: list[Any] = []
    for name in names:
        one = copy.copy(options)
        one.model = name.strip()
        parts.append(door.load_model(one))
    check_parts(names, *parts)
    stickers = sticker_model(parts[0])
    numbers = {**SETTINGS[options.setting or ("stickers" if stickers else "whole")]}
    if options.least is not None:
        numbers["least_score"] = options.least
    model = tiny_matcher.join(*parts, **numbers)
    trained = int(model.features.side) * model.patch_size
    side = options.size or (2 * trained if stickers else trained)  # twice as large, stickers have more patches
    if side % model.patch_size:
        raise UserError(f"--size {side} is no multiple of the {model.patch_size} pixels of a patch")
    check_patches((side // model.patch_size) ** 2, side)
    return model, side, stickers


def check_patches(patches: int, side: int) -> None:
    """Every patch of one picture is compared with every patch of the other: a notice where that takes long.

    Raises:
        UserError: there are too many for any memory.
    """
    if patches > MOST_PATCHES:
        raise UserError(f"--size {side} makes {patches:,} patches a picture, at most {MOST_PATCHES:,} can be matched")
    if patches > MANY_PATCHES:
        notice(f"--size {side} makes {patches:,} patches a picture: matching them takes minutes")


def check_parts(names: Sequence[str], features: nn.Module, sam: nn.Module) -> None:
    """Patch features first, SAM second.

    Raises:
        UserError: they are something else.
    """
    if not (hasattr(features, "patch_features") or isinstance(features, CLIP | ViT)):
        raise UserError(f"{names[0]} is a {type(features).__name__}, which has no patches to compare; DINOv2 is first")
    if not isinstance(sam, SAM):
        raise UserError(f"{names[1]} is a {type(sam).__name__}, which draws no masks of points; SAM comes second")


def to_square(picture: Image.Image, side: int) -> Float[Tensor, "3 side side"]:
    """A picture as Matcher reads it: pixels 0-1 of a square; its proportions are lost."""
    resized = picture.resize((side, side), Image.Resampling.BILINEAR)
    return rearrange(torch.from_numpy(np.array(resized)), "h w c -> c h w").float() / 255


def mask_to_square(mask: Bool[Tensor, "height width"] | None, side: int) -> Float[Tensor, "1 side side"]:
    """A mask beside it, by nearest pixels; where that loses a thin mask, by its largest. None marks nothing."""
    if mask is None:
        return torch.zeros(1, side, side)
    small = F.interpolate(mask[None, None].float(), (side, side), mode="nearest")[0]
    return small if small.any() else F.adaptive_max_pool2d(mask[None].float(), side)


# ---------------------------------------------------------------- the answer


def answer(
    model: Matcher,
    options: argparse.Namespace,
    reference: Shown,
    mask: Bool[Tensor, "height width"] | None,
    target: Shown,
) -> list[tuple[Image.Image, str]]:
    """Match one target, print what was found, and draw it: reference, target and, both ways, the reference again."""
    given = mask_to_square(mask, reference.pixels.shape[-1]).to(reference.pixels)
    with waiting(f"matching {target.name}"):
        found = model(reference.pixels[None], given, target.pixels, seed=options.seed)
    marked = matcher.fill_empty(given)[0] > 0
    print(f"  {printable(target.name)}: {told(found, model.least_score)}")
    write_mask(found, target, options.masks)
    forward, into = patch_squares(model, found, reference.pixels.shape[-1])
    tiles = [
        (draw(reference, marked, forward), reference.name),
        (draw(target, found.mask & found.found, into), caption(target, found)),
    ]
    if options.both_ways:
        tiles.append(round_trip(model, options, reference, target, found, marked))
    return tiles


def round_trip(
    model: Matcher, options: argparse.Namespace, reference: Shown, target: Shown, found: Result, marked: Tensor
) -> tuple[Image.Image, str]:
    """What was found marks the target; what that finds in the reference should be what was marked there."""
    if not found.found:
        print(f"  back to {printable(reference.name)}: there is nothing to go back from")
        return draw(reference, torch.zeros_like(marked), []), f"{reference.name}, back: nothing to go back from"
    with waiting(f"and back to {reference.name}"):
        back = model(target.pixels[None], found.mask[None].to(target.pixels), reference.pixels, seed=options.seed)
    first, second = marked.cpu(), back.mask & back.found
    agreement = float((first & second).sum() / (first | second).sum())
    print(f"  back to {printable(reference.name)}: {told(back, model.least_score)}; round trip IoU {agreement:.2f}")
    _, into = patch_squares(model, back, reference.pixels.shape[-1])
    return draw(reference, second, into), f"{caption(reference, back)}, round trip IoU {agreement:.2f}"


def told(found: Result, least: float) -> str:
    """One answer in words."""
    kept, pairs = int(found.matches.retained.sum()), len(found.matches.retained)
    score = f"score {found.score:.2f}" + (f", {least:.2f} is asked" if not found.found and found.proposals else "")
    if not found.proposals:
        return "not found (SAM draws nothing at the matched points)"
    if not found.found:
        return f"not found ({score})"
    return f"{float(found.mask.float().mean()):.1%} of the picture ({score}; {kept} of {pairs} matches came back)"


def caption(shown: Shown, found: Result) -> str:
    """Below a picture."""
    return f"{shown.name}: score {found.score:.2f}" if found.found else f"{shown.name}: not found ({found.score:.2f})"


def write_mask(found: Result, target: Shown, folder: str | None) -> None:
    """NAME-mask.png, white where it is, at the target's size; black where nothing was found."""
    if folder is None:
        return
    mask = (found.mask & found.found).to(torch.uint8) * 255
    path = mask_file(Path(folder), target.path)
    save_picture(Image.fromarray(mask.numpy()).resize(target.picture.size, Image.Resampling.NEAREST), path)
    print(f"wrote {printable(str(path))}")


Square = tuple[tuple[int, int, int, int], tuple[int, int, int]]  # a patch's box in pixels, and its colour


def patch_squares(model: Matcher, found: Result, side: int) -> tuple[list[Square], list[Square]]:
    """The matched patches of both pictures; those of a pair have one colour."""
    size, columns = model.patch_size, side // model.patch_size
    kept = set(found.matches.patches.tolist())
    pairs = [pair for pair in zip(found.matches.reference.tolist(), found.matches.target.tolist()) if pair[1] in kept]
    squares: tuple[list[Square], list[Square]] = ([], [])
    for number, pair in enumerate(pairs):
        for place, patch in enumerate(pair):
            x, y = patch % columns * size, patch // columns * size
            squares[place].append(((x, y, x + size, y + size), COLOURS[number % len(COLOURS)]))
    return squares


def draw(shown: Shown, mask: Bool[Tensor, "side side"], squares: list[Square]) -> Image.Image:
    """The picture as a square of `SHOWN` pixels or more, its mask, and the matched patches as small squares."""
    side = shown.pixels.shape[-1]
    big = max(1, SHOWN // side) * side
    image = shown.picture.resize((big, big), Image.Resampling.BILINEAR if side > 128 else Image.Resampling.NEAREST)
    large = F.interpolate(mask[None, None].float().cpu(), (big, big), mode="nearest")[0] > 0
    if large.any():
        image = overlay(image, large, colours=[COLOURS[3]])
    drawing, times = ImageDraw.Draw(image), big // side
    for (x0, y0, x1, y1), colour in squares:
        box = [round(times * (x0 + 0.25 * (x1 - x0))), round(times * (y0 + 0.25 * (y1 - y0)))]
        box += [round(times * (x1 - 0.25 * (x1 - x0))), round(times * (y1 - 0.25 * (y1 - y0)))]
        drawing.rectangle(box, fill=colour, outline="white")
    return image
