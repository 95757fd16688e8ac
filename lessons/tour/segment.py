"""A stage of the tour: tiny CLIPSeg finds things by a text, by a picture, and by mixes of the two (part 4)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch import Tensor

from lessons.stickers import baselines
from lessons.stickers.captions import with_article
from lessons.stickers.questions import one_shot_pair
from lessons.stickers.scenes import GRID, Dice, Scene, draw, random_scene
from lessons.stickers.sheet import CLASS_NUMBER, CLASSES
from lessons.stickers.splits import TEST
from lessons.tour import html_page
from lessons.tour import pictures as sheet
from lessons.tour.stages import Section, Tour, in_words, picture
from lessons.train import measures
from lessons.train.clipseg import data as clipseg_data
from lessons.train.clipseg import report as clipseg_report
from minimodels.clipseg import CLIPSeg
from minimodels.picture_prompts import mix
from minimodels.pixels.drawing import COLOURS
from minimodels.stored import models

FIRST = 730_000  # scenes of the test split that no exam uses
SHOWN = 288  # pixels at which masks are painted; the model sees 64
FOUND = 0.5  # IoU from which a mask counts as right
EXAM = 120  # scenes of each row of the table
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the text


class Answer(NamedTuple):
    """One scene with the masks that were found in it, the prompts they answer, and the IoU of each (absent: 1 or 0)."""

    scene: Scene
    names: list[str]
    masks: Bool[Tensor, "prompts height width"]
    ious: list[float]

    @property
    def right(self) -> bool:
        return min(self.ious) >= FOUND


def segment_stage(tour: Tour) -> Section:
    """By words, by one picture, by everything between; figures over more scenes beside shortcuts."""
    model = models.load("tiny-clipseg")
    by_text, shown = text_answers(model), one_shot_pair(FIRST, TEST)[0]
    by_picture, mixes = picture_answers(model, *shown), mix_answers(model, *one_shot_pair(FIRST + 1, TEST, hard=True))
    tour.save_scenes("segments", [answer.scene for answer in by_text])
    rows, by_name, by_one = exam_rows(model)
    right = sum(answer.right for answer in by_text)
    body = [
        html_page.paragraph(
            "CLIP says what a picture shows. CLIPSeg asks its blocks where: a small decoder, trained while CLIP itself "
            "stayed as it was, gets a prompt and paints the pixels. The prompt is a vector of CLIP's, so it may come "
            "from words or from another picture."
        ),
        html_page.heading("By words: every sticker of the scene by its name, and one name that is not there"),
        html_page.cards([text_card(answer) for answer in by_text]),
        html_page.heading("By a picture: a sticker cut out of one scene, found in four others"),
        html_page.cards([shown_card(*shown), *map(picture_card, by_picture)]),
        html_page.heading("From picture to words: the weight of the text from 0 to 1"),
        html_page.cards([mix_card(answer, weight) for answer, weight in zip(mixes, WEIGHTS)]),
        html_page.paragraph(
            "These are the first scenes of lists made from one seed; none was picked or left out.", "note"
        ),
        html_page.table(["asked by", "IoU"], rows, f"{EXAM} unseen scenes each, mean overlap with the right pixels"),
    ]
    return Section(
        "Where is it? By words, by a picture, by a mix",
        f"{right} of {len(by_text)} sample scenes right; overlap (IoU) with what is meant: by name {by_name:.1%}, "
        f"by a picture {by_one:.1%}",
        body,
        [text_row(by_text), picture_row(*shown, by_picture), mix_row(mixes)],
    )


# ---------------------------------------------------------------- asking


@torch.no_grad()
def find(model: CLIPSeg, scene: Scene, prompts: Float[Tensor, "prompts embed_dim"]) -> Float[Tensor, "prompts S S"]:
    """Probabilities at `SHOWN` pixels: the model reads the scene at 64, its logits are enlarged."""
    image = measures.normalized(draw(scene, GRID)[0][None])
    logits = model.decode(model.encode(image), prompts[None])  # (1, P, 64, 64)
    return F.interpolate(logits, (SHOWN, SHOWN), mode="bilinear", align_corners=False)[0].sigmoid()


@torch.no_grad()
def text_prompts(model: CLIPSeg, names: Sequence[str]) -> Float[Tensor, "prompts embed_dim"]:
    """Prompts from class names, as "a dog"."""
    return model.encode_text(model.tokenize([with_article(name) for name in names]))  # type: ignore[operator]


@torch.no_grad()
def shown_prompt(model: CLIPSeg, scene: Scene, target: int) -> Float[Tensor, "1 embed_dim"]:
    """A prompt from one sticker of a scene, cut out."""
    return model.encode_image(cut(scene, target))


def cut(scene: Scene, target: int) -> Float[Tensor, "1 3 64 64"]:
    """What the model is shown of a sticker: itself on grey, at half the width."""
    image, owner = draw(scene, GRID)
    mask = torch.from_numpy(owner == target + 1)[None]
    return clipseg_data.cut_out(measures.normalized(image[None]), mask)


def judge(scene: Scene, names: Sequence[str], probabilities: Tensor) -> Answer:
    """Masks beside the pixels of the stickers of that name; for an absent name, right is an empty mask."""
    masks, owner, ious = probabilities > 0.5, torch.from_numpy(draw(scene, SHOWN)[1]), []
    for name, mask in zip(names, masks):
        numbers = [n for n, sticker in enumerate(scene.stickers, start=1) if sticker.name == name]
        truth = torch.isin(owner, torch.tensor(numbers, dtype=owner.dtype))
        both, either = int((mask & truth).sum()), int((mask | truth).sum())
        ious.append(both / either if either else 1.0)
    return Answer(scene, list(names), masks, ious)


def text_answers(model: CLIPSeg) -> list[Answer]:
    """Five scenes, each asked for all that is in it and for one thing that is not."""
    answers = []
    for number in range(sheet.COLUMNS):
        dice = Dice(TEST.seed(FIRST + number))
        scene = random_scene(dice, TEST, 2 + number % 2)
        names = [sticker.name for sticker in scene.stickers]
        names.append(next(name for name in dice.shuffled(CLASSES) if name not in names))
        answers.append(judge(scene, names, find(model, scene, text_prompts(model, names))))
    return answers


def picture_answers(model: CLIPSeg, shown: Scene, target: int) -> list[Answer]:
    """Four scenes asked by one cut-out sticker, each with its class and others."""
    name, prompt = shown.stickers[target].name, shown_prompt(model, shown, target)
    scenes = [clipseg_data.showing(FIRST + n, CLASS_NUMBER[name], TEST)[0] for n in range(sheet.COLUMNS - 1)]
    return [judge(scene, [name], find(model, scene, prompt)) for scene in scenes]


def mix_answers(model: CLIPSeg, shown: tuple[Scene, int], asked: tuple[Scene, int]) -> list[Answer]:
    """One scene asked by mixes of a picture and a name."""
    scene, target = asked
    name = scene.stickers[target].name
    text, seen = text_prompts(model, [name]), shown_prompt(model, *shown)
    prompts = torch.cat([mix(text, seen, weight) for weight in WEIGHTS])
    return [judge(scene, [name], one[None]) for one in find(model, scene, prompts)]


def exam_rows(model: CLIPSeg) -> tuple[list[tuple[str, str]], float, float]:
    """The table, IoU by name and IoU by picture."""
    exam = clipseg_report.class_exam(TEST, EXAM, hard=False)
    kinds = [CLASS_NUMBER[one.noun] for one in exam.asked]
    pictures = [clipseg_data.support_pictures(range(n, n + 1), kind, TEST) for n, kind in enumerate(kinds)]
    with torch.no_grad():
        seen, text = model.encode_image(torch.cat(pictures)), clipseg_report.text_prompts(model, exam)

    def overlap(prompt: Tensor) -> float:
        return clipseg_report.mean_iou(clipseg_report.predict(model, exam, GRID, prompt), exam)

    by_name, by_one, mixed = overlap(text), overlap(seen), overlap(mix(text, seen, 0.5))
    colours = float(np.mean([baselines.colour_only_choice(one) for one in exam.asked]))
    relations = clipseg_report.class_exam(TEST, EXAM, hard=True, kind="relation")
    sentence = clipseg_report.mean_iou(clipseg_report.predict(model, relations, GRID), relations)
    rows = [
        ("its name", f"{by_name:.1%}"),
        ("a picture of another one", f"{by_one:.1%}"),
        ("half name, half picture", f"{mixed:.1%}"),
        ("an oracle that is told all stickers' pixels and compares only colours", f"{colours:.1%}"),
        ("everything painted", f"{exam.masks.float().mean():.1%}"),
        ("“the dog left of the tree” where there are two dogs: hardly ever the right one", f"{sentence:.1%}"),
    ]
    return rows, by_name, by_one


# ---------------------------------------------------------------- showing


def paint(answer: Answer) -> Image.Image:
    """The scene in grey, what was found in its own colours, with an outline in the colour of each prompt."""
    scene = picture(answer.scene, SHOWN)
    grey = Image.blend(ImageOps.grayscale(scene).convert("RGB"), Image.new("RGB", scene.size, "white"), 0.35)
    out = np.where(answer.masks.any(0)[..., None].numpy(), np.array(scene), np.array(grey))
    grown = F.max_pool2d(answer.masks[None].float(), 7, stride=1, padding=3)[0] > 0
    for line, colour in zip((grown & ~answer.masks).numpy(), COLOURS):
        out[line] = colour
    return Image.fromarray(out)


def as_shown(scene: Scene, target: int) -> Image.Image:
    """The cut-out sticker as a picture."""
    pixels = (cut(scene, target)[0] * measures.STD + measures.MEAN).clamp(0, 1)
    levels = (pixels.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(levels).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)


def in_short(answer: Answer) -> str:
    """The overlap of a single mask."""
    return f"IoU {answer.ious[0]:.2f}"


def text_card(answer: Answer) -> str:
    """A scene asked by words, for the report."""
    told = [name if mask.any() else f"{name}: not found" for name, mask in zip(answer.names, answer.masks)]
    alt = f"{in_words(answer.scene)}; outlined: {', '.join(told)}"
    return html_page.figure(paint(answer), alt, html_page.caption("; ".join(told), answer.right))


def shown_card(scene: Scene, target: int) -> str:
    """What the model was shown."""
    name = with_article(scene.stickers[target].name)
    return html_page.figure(as_shown(scene, target), f"{name} on grey", html_page.caption(f"shown: {name}"))


def picture_card(answer: Answer) -> str:
    """A scene asked by a picture."""
    alt = f"{in_words(answer.scene)}; outlined: the {answer.names[0]}"
    return html_page.figure(paint(answer), alt, html_page.caption(in_short(answer), answer.right))


def mix_card(answer: Answer, weight: float) -> str:
    """One step of the row from picture to text."""
    alt = f"{in_words(answer.scene)}; outlined by a prompt that is {weight:.0%} text"
    text = f"{weight:.0%} “{with_article(answer.names[0])}”, {1 - weight:.0%} picture: {in_short(answer)}"
    return html_page.figure(paint(answer), alt, html_page.caption(text, answer.right))


def text_row(answers: Sequence[Answer]) -> Image.Image:
    """For the one picture: scenes, and under each the names in the colours of their outlines."""
    tiles = []
    for answer in answers:
        absent = [(f"no {answer.names[-1]}", sheet.SOFT)] if len(answer.names) < 4 else []  # where there is room
        tiles.append(sheet.Tile(paint(answer), answer.right, parts=[*zip(answer.names[:-1], COLOURS), *absent]))
    return sheet.row("Where is it? Asked by words", tiles)


def picture_row(shown: Scene, target: int, answers: Sequence[Answer]) -> Image.Image:
    """The prompt picture, and what it found."""
    tiles = [sheet.Tile(as_shown(shown, target), None, text=f"shown: {with_article(answers[0].names[0])}")]
    tiles += [sheet.Tile(paint(answer), answer.right, text=in_short(answer)) for answer in answers]
    return sheet.row("Asked by a picture", tiles)


def mix_row(answers: Sequence[Answer]) -> Image.Image:
    """One scene, five mixes."""
    tiles = [
        sheet.Tile(paint(answer), answer.right, text=f"{weight:.0%} text, {in_short(answer)}")
        for answer, weight in zip(answers, WEIGHTS)
    ]
    name = with_article(answers[0].names[0])
    return sheet.row(f"From a picture to the words “{name}”", tiles)
