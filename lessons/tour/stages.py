"""The stages of the tour, and what they share.

Every stage is a function that gets the `Tour` and gives a `Section`: what it found in one line, its part of the report,
and rows for the one picture. To add a stage, write such a function, in a file of its own (`tour_segment.py`) or here,
and put it into `STAGES` in `tour.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from checkpoints_convert.proof.verify import Comparison, verify
from lessons.stickers import baselines, exams
from lessons.stickers.captions import caption, describe, with_article
from lessons.stickers.scenes import Dice, Scene, draw, random_scene, single_scene
from lessons.stickers.sheet import CLASSES, SIZES, colour_histogram
from lessons.stickers.splits import TEST
from lessons.stickers.textures import BACKGROUNDS
from lessons.tour import html_page
from lessons.tour import pictures as sheet
from lessons.train import measures
from minimodels.clip import CLIP, DualEncoder
from minimodels.commands import zero_shot
from minimodels.metrics.retrieval import recall_at
from minimodels.pixels.opening import open_image, save_picture
from minimodels.stored import search_index
from minimodels.words.templates import default_templates, label_embeddings

SAMPLES, FIRST_SAMPLE, FIRST_SCENE = 10, 700_000, 710_000  # scenes of the test split that no exam uses
SHOWN = 192  # pixels at which scenes are shown; the model sees them at 64
TOP = 5
ROUNDS = 2
UNSEEN = ROUNDS * len(CLASSES) * len(SIZES)


@dataclass
class Tour:
    """What the stages share."""

    folder: Path
    model: DualEncoder
    model_name: str
    scenes: int

    @cached_property
    def gallery(self) -> exams.Pairs:
        """Different scenes of one or two stickers with all that can be said of them; test split, never trained on."""
        found: dict[tuple, tuple[Scene, str]] = {}
        number = FIRST_SCENE
        while len(found) < self.scenes:
            dice = Dice(TEST.seed(number))
            scene = random_scene(dice, TEST, dice.between(1, 2))
            found.setdefault(exams.content(scene), (scene, caption(dice, scene, rich=True)))
            number += 1
        scenes, captions = map(list, zip(*found.values()))
        return exams.Pairs(exams.pictures(scenes), captions, scenes, [])

    def save_scenes(self, name: str, scenes: Sequence[Scene]) -> Path:
        """Write scenes as PNG files, as large as the model sees them; give their folder."""
        folder = self.folder / name
        for number, scene in enumerate(scenes):
            save_picture(picture(scene, 64), folder / f"{number:04d}.png")
        return folder


@dataclass
class Section:
    """What a stage gives.

    Args:
        title: of its part of the report.
        summary: one line, also for the terminal.
        body: pieces of HTML from `lessons.tour.html_page`.
        rows: for the one picture.
        ok: False when something that must hold does not.
    """

    title: str
    summary: str
    body: list[str]
    rows: list[Image.Image] = field(default_factory=list)
    ok: bool = True


def picture(scene: Scene, size: int = SHOWN) -> Image.Image:
    """A scene as a picture."""
    return Image.fromarray(draw(scene, size)[0])


def in_words(scene: Scene) -> str:
    """What a scene shows, for those who do not see it."""
    return caption(Dice(0), scene, rich=True)


# ---------------------------------------------------------------- zero-shot


def zero_shot_stage(tour: Tour) -> Section:
    """Ten scenes and all 64 labels; the accuracy on more of them beside what shortcuts reach."""
    kinds = Dice(TEST.seed(FIRST_SAMPLE)).shuffled(range(len(CLASSES)))[:SAMPLES]
    scenes = [
        single_scene(Dice(TEST.seed(FIRST_SAMPLE + 1 + number)), TEST, kind, size=(number + 1) % 3)
        for number, kind in enumerate(kinds)
    ]
    folder = tour.save_scenes("samples", scenes)
    labels = label_embeddings(tour.model, CLASSES, default_templates(tour.model))
    images = [open_image(folder / f"{number:04d}.png") for number in range(SAMPLES)]
    tiles = [name_it(tour, image, scene, labels) for image, scene in zip(images, scenes)]
    right = sum(tile.right for tile in tiles)
    accuracy, rows = zero_shot_accuracy(tour)
    return Section(
        "Which of 64 stickers is it?",
        f"{right} of {SAMPLES} sample scenes right; of {UNSEEN} more unseen ones {accuracy:.1%}",
        [
            html_page.paragraph(
                "Nobody trained this model to name stickers. It read captions such as “a small red car left of a dog "
                "on grass” and learned which picture each belongs to. Now it compares a picture with “a dog”, “a small "
                f"dog”, “a big dog” and so on for each of {len(CLASSES)} names, and takes the nearest."
            ),
            html_page.cards([sample_card(tile, scene) for tile, scene in zip(tiles, scenes)]),
            html_page.paragraph(
                "These are the first scenes of a list made from one seed; none was picked or left out.", "note"
            ),
            html_page.table(["who answers", "right"], rows, f"{UNSEEN} unseen scenes of one sticker"),
            html_page.paragraph(
                "The oracle shows what this exam asks for: most stickers have colours of their own, so whoever knows "
                "where the sticker is needs no shape. The model is not told where.",
                "note",
            ),
        ],
        [sheet.row("Zero-shot: which of 64 names fits?", tiles)],
    )


def name_it(tour: Tour, image: Image.Image, scene: Scene, labels: Tensor) -> sheet.Tile:
    """The three best names for a scene, and whether the first one is right."""
    ranked = zero_shot.ranked(list(CLASSES), *zero_shot.classify(tour.model, image, labels))
    best = [(answer["label"], answer["probability"]) for answer in ranked[:3]]
    return sheet.Tile(picture(scene), best[0][0] == scene.stickers[0].name, bars=best)


def sample_card(tile: sheet.Tile, scene: Scene) -> str:
    """The same for the report."""
    below = html_page.caption(in_words(scene), tile.right) + html_page.bars(tile.bars, scene.stickers[0].name)
    return html_page.figure(tile.picture, in_words(scene), below)


def zero_shot_accuracy(tour: Tour) -> tuple[float, list[tuple[str, str]]]:
    """The model's share of right answers, and a table of it beside the shortcuts."""
    exam = exams.singles(TEST, rounds=ROUNDS)
    accuracy = measures.zero_shot(tour.model, tour.model.tokenize, exam).float().mean().item()
    colours = baselines.colour_only_class(exam).mean()
    empty = measures.zero_shot(untrained(tour.model), tour.model.tokenize, exam).float().mean().item()
    rows = [
        (f"{tour.model_name}", f"{accuracy:.1%}"),
        ("an oracle that is told the sticker's pixels and compares only colours", f"{colours:.1%}"),
        ("the same network, untrained", f"{empty:.1%}"),
        ("chance", f"{1 / len(CLASSES):.1%}"),
    ]
    return accuracy, rows


def untrained(model: DualEncoder) -> torch.nn.Module:
    """A model of the same sizes with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        empty = CLIP(**model.about["arguments"]).to(model.logit_scale).eval()  # type: ignore[index]
    empty.tokenize = model.tokenize
    return empty


# ---------------------------------------------------------------- search


@dataclass(frozen=True)
class Query:
    """Words to look for, and how to tell from its description whether a scene shows them."""

    text: str
    sticker: str
    ground: str = ""

    def fits(self, scene: Scene) -> bool:
        """Whether the scene shows what the words say."""
        named = any(self.sticker in (s.name, describe(s), describe(s, size=False)) for s in scene.stickers)
        return named and self.ground in ("", BACKGROUNDS[scene.background])


QUERIES = (
    Query("a rocket", "rocket"),
    Query("a parrot", "parrot"),
    Query("a red mushroom", "red mushroom"),
    Query("an umbrella", "umbrella"),
)


def search_stage(tour: Tour) -> Section:
    """Several queries in a folder of scenes, through the same index that the command keeps; all names and captions."""
    scenes = tour.gallery.scenes
    folder = tour.save_scenes("scenes", scenes)
    own = {f"{number:04d}.png" for number in range(len(scenes))}  # not what somebody else put there
    stamps = [stamp for stamp in search_index.list_pictures(folder) if stamp[0] in own]
    found = search_index.open_index(folder, stamps, tour.model, tour.model_name).vectors
    texts = embed(tour.model, [query.text for query in QUERIES])
    body, rows = [], []
    for query, scores in zip(QUERIES, texts @ found.T):
        best = scores.topk(min(TOP, len(scenes)))
        hits = [(scenes[number], score) for number, score in zip(best.indices.tolist(), best.values.tolist())]
        body += [
            html_page.heading(f"“{query.text}”: {sum(map(query.fits, scenes))} such scenes"),
            hit_cards(query, hits),
        ]
        tiles = [sheet.Tile(picture(s), query.fits(s), text=f"{score:.2f}") for s, score in hits]
        rows.append(sheet.row(f"Search in {len(scenes)} scenes: “{query.text}”", tiles))
    table = search_table(tour, found)
    names, captions = table[0][1:3]
    intro = (
        f"All {len(scenes)} scenes are embedded once. A query is one more vector; the nearest pictures are the hits. "
        "The queries below are examples that were chosen, the table at the end has all of them: each of the "
        f"{len(CLASSES)} names, and each scene's full caption, which has one right scene."
    )
    head = [
        "who searches",
        f"names: right among the best {TOP}",
        "captions: first hit right",
        "right one in the best 5",
    ]
    return Section(
        f"Search in {len(scenes)} scenes",
        f"{names} of the best {TOP} hits right over all names; a full caption finds its scene first in {captions}",
        [html_page.paragraph(intro), *body, html_page.table(head, table)],
        rows[:2],
    )


def hit_cards(query: Query, hits: Sequence[tuple[Scene, float]]) -> str:
    """The hits of one query, judged by what the scenes are known to show."""
    figures = [
        html_page.figure(picture(scene), in_words(scene), html_page.caption(f"{score:.2f}", query.fits(scene)))
        for scene, score in hits
    ]
    return html_page.cards(figures)


def search_table(tour: Tour, found: Tensor) -> list[tuple[str, ...]]:
    """The model beside shortcuts: precision over all names, R@1 and R@5 over all captions."""
    gallery, names = tour.gallery, [with_article(name) for name in CLASSES]
    there = torch.tensor([[name in (s.name for s in scene.stickers) for scene in gallery.scenes] for name in CLASSES])
    empty = untrained(tour.model)
    blind = measures.embed_images(empty, gallery.images).cpu()
    seen = np.stack([colour_histogram(image.reshape(-1, 3)) for image in gallery.images])  # (N, boxes)
    colours = [baselines.look(kind) for kind in range(len(CLASSES))]
    told = [baselines.expected_colours(scene) for scene in gallery.scenes]
    answers = {
        tour.model_name: [embed(tour.model, texts) @ found.T for texts in (names, gallery.captions)],
        "colours alone (an oracle: told the right ones)": [
            torch.from_numpy(np.stack([baselines.shared(seen, one) for one in wanted])) for wanted in (colours, told)
        ],
        "the same network, untrained": [embed(empty, texts) @ blind.T for texts in (names, gallery.captions)],
    }
    own, count = torch.eye(len(gallery.scenes), dtype=torch.bool), len(gallery.scenes)
    rows = [
        (who, f"{precision(by_name, there):.1%}", *(f"{recall_at(by_caption.float(), own, k):.1%}" for k in (1, 5)))
        for who, (by_name, by_caption) in answers.items()
    ]
    return [*rows, ("chance", f"{there.float().mean():.1%}", f"{1 / count:.1%}", f"{5 / count:.1%}")]


def embed(model: torch.nn.Module, texts: Sequence[str]) -> Tensor:
    """Unit vectors (T, E) of texts as they are."""
    return label_embeddings(model, texts, ("{}",)).float().cpu()  # type: ignore[arg-type]


def precision(scores: Tensor, there: Tensor) -> float:
    """The share of right ones among the best hits, over all queries that have so many right ones."""
    best = min(TOP, scores.shape[1])
    hits = there.gather(1, scores.topk(best).indices).float().mean(dim=1)
    return hits[there.sum(dim=1) >= best].mean().item()


# ---------------------------------------------------------------- where it fails


def limits_stage(tour: Tour) -> Section:
    """Word order: the right sentence against the same words turned round."""
    exam = exams.word_order(TEST, 200)
    wins = measures.right_caption_wins(tour.model, tour.model.tokenize, exam)
    figures = []
    for number in range(2):
        pair = [exam.captions[number], exam.swapped[number]]
        labels = label_embeddings(tour.model, pair, ("{}",))
        shares, _ = zero_shot.classify(tour.model, Image.fromarray(exam.images[number]), labels)
        rows = sorted(zip(pair, shares), key=lambda row: -row[1])
        alt = in_words(exam.scenes[number])
        figures.append(html_page.figure(picture(exam.scenes[number]), alt, html_page.bars(rows, pair[0])))
    share = wins.float().mean().item()
    text = (
        "Who stands left of whom? The right sentence and the same words turned round, on 200 unseen scenes: "
        f"the right one wins in {share:.1%}, a coin would in 50 %. CLIP reads which words there are, and hardly their "
        "order. That is known of the official weights too, and one reason why the book goes on to other models."
    )
    return Section(
        "Where it fails: the order of words",
        f"“left of” against its opposite: right in {share:.1%}, a coin in 50 %",
        [html_page.paragraph(text), html_page.cards(figures, "wide")],
    )


# ---------------------------------------------------------------- parity


PARITY = ("vit", "clip")


def parity_stage(tour: Tour) -> Section:
    """Our models beside the libraries', small and with random weights."""
    comparisons = [comparison for system in PARITY for comparison in verify(system, size="tiny").comparisons]
    ok = all(comparison.ok for comparison in comparisons)
    head = ["models", "blocks", "outputs", "blocks' largest", "gradients", "in float32", ""]
    text = (
        "Are these the real models? Each of ours is set beside the library's, small and with every number redrawn at "
        "random. The library's weights go through the conversion table into ours; both get the same pictures and texts "
        "in float64. Compared are the outputs, what comes out of every block, and the gradients of the inputs and of "
        "all parameters. Each entry is the largest difference found. Equal means at most 1e-10: what remains is "
        "round-off, which in float32 is larger."
    )
    unfold = [
        html_page.details(f"block by block: {comparison.title}", html_page.commands(str(comparison).splitlines()))
        for comparison in comparisons
    ]
    worst = max((row.largest for comparison in comparisons for row in comparison.rows), default=0.0)
    verdict = f"{len(comparisons)} models beside timm, transformers and open_clip: largest difference {worst:.0e}"
    return Section(
        "Equal to the reference libraries",
        verdict if ok else f"NOT EQUAL: {verdict}",
        [html_page.paragraph(text), html_page.table(head, [parity_row(c) for c in comparisons]), *unfold],
        ok=ok,
    )


def parity_row(comparison: Comparison) -> list[str]:
    """One line of the table."""
    numbers = [f"{comparison.largest(kind):.1e}" for kind in ("output", "block", "gradient", "float32")]
    blocks = sum(row.kind == "block" for row in comparison.rows)
    return [comparison.title.split(":")[0], str(blocks), *numbers, "equal" if comparison.ok else "DIFFERENT"]
