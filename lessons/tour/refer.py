"""A stage of the tour: tiny LAVT chooses, by a sentence, one sticker among others of its class (part 4)."""

from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from lessons.stickers import baselines, refer
from lessons.stickers.scenes import GRID, Scene, draw
from lessons.stickers.splits import TEST
from lessons.tour import html_page
from lessons.tour import pictures as sheet
from lessons.tour.segment import SHOWN, Answer, paint
from lessons.tour.stages import Section, Tour, in_words
from lessons.train.lavt import data as lavt_data
from lessons.train.lavt import report as lavt_report
from minimodels.lavt import LAVT
from minimodels.pixels.drawing import COLOURS
from minimodels.stored import models

FIRST = 740_000  # scenes of the test split that no exam uses
ASKED = ("place", "place", "extreme", "relation", "relation")  # of the scenes in the row
EXAM = 100  # scenes of each row of the table
NAMES = {"place": "“on the left”, “at the top”", "extreme": "“biggest”, “smallest”", "relation": "“left of the tree”"}


class Pair(NamedTuple):
    """A scene with two stickers of a class, two sentences, which sticker each means, and the masks found at 64."""

    scene: Scene
    texts: list[str]
    targets: list[int]
    found: Bool[Tensor, "sentences height width"]

    @property
    def chosen(self) -> list[bool]:
        """For each sentence whether its sticker has the largest share of pixels painted among those of its class."""
        owner = draw(self.scene, GRID)[1]
        return [right_one(mask.numpy(), owner, self.scene, target) for mask, target in zip(self.found, self.targets)]


def refer_stage(tour: Tour) -> Section:
    """Two sentences on each picture, and figures over more scenes beside one who reads the noun alone."""
    model = models.load("tiny-lavt")
    pairs = [ask(model, *sentences(FIRST + number, kind)) for number, kind in enumerate(ASKED)]
    tour.save_scenes("sentences", [pair.scene for pair in pairs])
    rows, shares = exam_rows(model)
    right = sum(sum(pair.chosen) for pair in pairs)
    text = (
        "CLIPSeg hears a sentence as one vector and paints every dog. In LAVT the words enter the picture's encoder at "
        "every stage, so that “left” can decide which dog it is. Each scene is asked twice: the same pixels, another "
        "sentence, another mask."
    )
    body = [
        html_page.paragraph(text),
        html_page.cards([card(pair) for pair in pairs]),
        html_page.paragraph(
            "These are the first scenes of lists made from one seed; none was picked or left out.", "note"
        ),
        html_page.table(["sentences", "tiny-lavt", "told the noun only", "tiny-clipseg", "draw among them"], rows),
    ]
    told = ", ".join(f"{NAMES[kind]} {share:.0%}" for kind, share in shares.items())
    return Section(
        "Which one? By a sentence",
        f"{right} of {2 * len(pairs)} sample sentences choose the right one; over {EXAM} scenes each: {told}",
        body,
        [sheet.row("Which one? One picture, two sentences", [tile(pair) for pair in pairs])],
    )


# ---------------------------------------------------------------- asking


def sentences(number: int, kind: str) -> tuple[Scene, list[str], list[int]]:
    """A scene made for a sentence, and another sentence of the same kind that means another sticker of the class."""
    first = refer.expression(number, TEST, kind)
    scene = first.scene
    others = [
        way
        for way in lavt_data.every_way(scene)
        if way.kind == kind and way.target != first.target and scene.stickers[way.target].name == first.noun
    ]
    axis = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "above": "below", "below": "above"}
    turned = [way for way in others if any(a in first.text and b in way.text for a, b in axis.items())]
    other = (turned or others)[0]
    return scene, [first.text, other.text], [first.target, other.target]


def ask(model: LAVT, scene: Scene, texts: list[str], targets: list[int]) -> Pair:
    """The masks of both sentences."""
    images = np.repeat(draw(scene, GRID)[0][None], len(texts), axis=0)
    return Pair(scene, texts, targets, lavt_report.predict(model, images, texts) > 0)


def right_one(mask: np.ndarray, owner: np.ndarray, scene: Scene, target: int) -> bool:
    """Whether the target has the largest share of its pixels painted among the stickers of its class."""
    alike = [n for n, s in enumerate(scene.stickers) if s.name == scene.stickers[target].name]
    shares = {n: mask[owner == n + 1].mean() if (owner == n + 1).any() else 0.0 for n in alike}
    return shares[target] > max((share for n, share in shares.items() if n != target), default=0.0)


def exam_rows(model: LAVT) -> tuple[list[tuple[str, ...]], dict[str, float]]:
    """For each kind of sentence how often the right one is chosen: LAVT, without the words, CLIPSeg, a draw."""
    painters, rows, shares = lavt_report.make_painters(model, models.load("tiny-clipseg")), [], {}
    for kind in dict.fromkeys(ASKED):
        exam = lavt_report.make_exam(kind, TEST, EXAM)
        ours, noun, clipseg = (
            lavt_report.chosen(masks, exam, ties)
            for masks, ties in (
                (painters.ours(exam.images, exam.texts), False),
                (painters.ours(exam.images, exam.nouns), True),
                (painters.clipseg(exam.images, exam.texts), True),
            )
        )
        drawn = float(np.mean([baselines.ignore_the_relation(one) for one in exam.asked]))
        rows.append((NAMES[kind], *(f"{value:.0%}" for value in (ours, noun, clipseg, drawn))))
        shares[kind] = ours
    return rows, shares


# ---------------------------------------------------------------- showing


def shown(pair: Pair) -> Image.Image:
    """The scene in grey, both masks in colour with an outline each."""
    big = F.interpolate(pair.found[None].float(), (SHOWN, SHOWN), mode="bilinear", align_corners=False)[0] > 0.5
    return paint(Answer(pair.scene, pair.texts, big, [1.0] * len(pair.texts)))


def card(pair: Pair) -> str:
    """A scene and its two sentences, for the report."""
    marks = [f"{'✓' if right else '✗'} {text}" for right, text in zip(pair.chosen, pair.texts)]
    alt = f"{in_words(pair.scene)}; outlined: {', '.join(pair.texts)}"
    return html_page.figure(shown(pair), alt, html_page.caption("; ".join(marks), all(pair.chosen)))


def tile(pair: Pair) -> sheet.Tile:
    """The same for the one picture: the ends of the sentences in the colours of their outlines."""
    noun = pair.scene.stickers[pair.targets[0]].name
    ends = [text.removeprefix("the ").replace(noun, "").strip() for text in pair.texts]
    return sheet.Tile(shown(pair), all(pair.chosen), text=f"{noun}:", parts=list(zip(ends, COLOURS)))
