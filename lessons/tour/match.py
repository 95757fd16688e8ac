"""A stage of the tour: one sticker marked in one scene, found in another one, and back again (lesson 5.3)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool
from PIL import Image, ImageOps
from torch import Tensor

from lessons.stickers.questions import one_shot_pair
from lessons.stickers.scenes import draw
from lessons.stickers.splits import TEST
from lessons.tour import html_page
from lessons.tour import pictures as sheet
from lessons.tour.stages import Section, Tour
from lessons.train.matcher.data import Pair, make_pair
from lessons.train.matcher.report import mask_iou, paint
from minimodels.matcher import Matcher, Result
from minimodels.pixels.drawing import COLOURS
from minimodels.pixels.opening import save_picture
from minimodels.stored import tiny_matcher

FIRST = 740_000  # pairs of the test split that nothing else uses
SHOWN = 256  # pixels at which masks are painted; the model sees 128
EXAM = 24  # pairs of each kind in the table


class Trip(NamedTuple):
    """A pair, what was found in the target, and what that found in the reference."""

    pair: Pair
    there: Result
    back: Result

    @property
    def iou(self) -> float:
        """How well the target's mask is the truth."""
        return mask_iou(self.there.mask & self.there.found, self.pair.right)

    @property
    def round_trip(self) -> float:
        """How well both ways agree."""
        return mask_iou(self.back.mask & self.back.found, self.pair.mask > 0)


def match_stage(tour: Tour) -> Section:
    """Five pairs both ways; figures over more pairs beside what patches alone and a single click reach."""
    model = tiny_matcher.load()
    trips = [go_and_return(model, make_pair(FIRST + number, TEST, hard=number % 2 == 1)) for number in range(5)]
    save_pair(tour, FIRST + 1)
    rows, whole = exam_rows(model)
    right = sum(trip.iou >= 0.5 for trip in trips)
    return Section(
        "This one: where is it there? One shot, no training",
        f"{right} of {len(trips)} sample pairs right; overlap (IoU) over {2 * EXAM} more {whole:.1%}",
        [
            html_page.paragraph(
                "One sticker is marked in one scene. Which patches of another scene look like its patches? There SAM "
                "is asked, with many small sets of clicks, and the mask that moves into the marked sticker most "
                "cheaply is the answer. Then the way back: what was found is marked, and looked for in the first scene."
            ),
            html_page.cards([card for trip in trips for card in cards(trip)]),
            html_page.paragraph(
                "These are the first pairs of a list made from one seed; none was picked or left out.", "note"
            ),
            html_page.table(["who answers", "IoU"], rows, f"{EXAM} easy and {EXAM} hard pairs of unseen scenes"),
        ],
        picture_rows(trips),
    )


def save_pair(tour: Tour, number: int) -> None:
    """Reference, mask and target as files, to try the command on."""
    (scene, chosen), (other, _) = one_shot_pair(number, TEST, hard=number % 2 == 1)
    (picture, owner), (target, _) = draw(scene), draw(other)
    mask = (owner == chosen + 1).astype(np.uint8) * 255
    for name, pixels in (("reference", picture), ("mask", mask), ("target", target)):
        save_picture(Image.fromarray(pixels), tour.folder / "pair" / f"{name}.png")


def go_and_return(model: Matcher, pair: Pair) -> Trip:
    """Match a pair, then from the target's mask back."""
    there = model(pair.reference[None], pair.mask[None], pair.target)
    return Trip(pair, there, model(pair.target[None], there.mask[None].float(), pair.reference))


def exam_rows(model: Matcher) -> tuple[list[tuple[str, str]], float]:
    """The table and the whole's IoU."""
    names = ("Matcher", "its matched patches, painted", "SAM's surest mask of all its prompts", "everything painted")
    sums = dict.fromkeys(names, 0.0)
    for number in range(2 * EXAM):
        pair = make_pair(FIRST + 100 + number, TEST, hard=number >= EXAM)
        result, columns = (
            model(pair.reference[None], pair.mask[None], pair.target),
            tiny_matcher.SIDE // model.patch_size,
        )
        masks = (
            result.mask & result.found,
            paint(result.matches.patches, columns, model.patch_size),
            result.masks[0] if len(result.masks) else torch.zeros_like(pair.right),
            torch.ones_like(pair.right),
        )
        for name, mask in zip(names, masks, strict=True):
            sums[name] += mask_iou(mask, pair.right) / (2 * EXAM)
    return [(name, f"{value:.1%}") for name, value in sums.items()], sums["Matcher"]


# ---------------------------------------------------------------- showing


def picture_rows(trips: Sequence[Trip]) -> list[Image.Image]:
    """For the one picture: what is marked, what was found, what came back."""
    marked = [sheet.Tile(outlined(t.pair.reference, t.pair.mask > 0), None, text=t.pair.name) for t in trips]
    there = [sheet.Tile(found(t), t.iou >= 0.5, text=f"IoU {t.iou:.2f}") for t in trips]
    back = [sheet.Tile(returned(t), t.round_trip >= 0.5, text=f"round trip {t.round_trip:.2f}") for t in trips]
    titles = ("One shot: this one", "Found in another scene", "And back, from what was found")
    return [sheet.row(title, tiles) for title, tiles in zip(titles, (marked, there, back))]


def outlined(pixels: Tensor, mask: Bool[Tensor, "side side"], points: Sequence[Sequence[int]] = ()) -> Image.Image:
    """The scene in grey, what is marked in its own colours and outlined, and dots where patches matched."""
    levels = rearrange(pixels * 255, "c h w -> h w c").round().to(torch.uint8).numpy()
    scene = Image.fromarray(levels).resize((SHOWN, SHOWN), Image.Resampling.BILINEAR)
    large = F.interpolate(mask[None, None].float(), (SHOWN, SHOWN), mode="nearest")[0] > 0
    grey = Image.blend(ImageOps.grayscale(scene).convert("RGB"), Image.new("RGB", scene.size, "white"), 0.35)
    out = np.where(large[0][..., None].numpy(), np.array(scene), np.array(grey))
    grown = F.max_pool2d(large.float(), 7, stride=1, padding=3) > 0
    out[(grown & ~large)[0].numpy()] = COLOURS[0]
    times = SHOWN // pixels.shape[-1]
    for x, y in points:
        part = out[times * y - 3 : times * y + 4, times * x - 3 : times * x + 4]
        part[:], part[1:-1, 1:-1] = 255, COLOURS[1]
    return Image.fromarray(out)


def found(trip: Trip) -> Image.Image:
    """The target with its mask and the matched points."""
    return outlined(trip.pair.target, trip.there.mask & trip.there.found, trip.there.points.tolist())


def returned(trip: Trip) -> Image.Image:
    """The reference with what came back."""
    return outlined(trip.pair.reference, trip.back.mask & trip.back.found, trip.back.points.tolist())


def cards(trip: Trip) -> list[str]:
    """Three pictures of one pair, for the report."""
    name = trip.pair.name
    told = f"IoU {trip.iou:.2f}" if trip.there.found else f"not found (score {trip.there.score:.2f})"
    return [
        html_page.figure(
            outlined(trip.pair.reference, trip.pair.mask > 0), f"a scene, marked: {name}", html_page.caption(name)
        ),
        html_page.figure(
            found(trip),
            f"a second scene, the {name} that was found in its own colours",
            html_page.caption(told, trip.iou >= 0.5),
        ),
        html_page.figure(
            returned(trip),
            f"a look back at the first scene, the {name} that was found again in its own colours",
            html_page.caption(f"and back: {trip.round_trip:.2f}", trip.round_trip >= 0.5),
        ),
    ]
