"""The stages of the tour, and what they share.

Every stage is a function that gets the `Tour` and gives a `Section`: what it found in one line, its part of the report,
and rows for the one picture. To add a stage, write such a function and put it into `STAGES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from checkpoints_convert.verify import Comparison, verify
from lessons import report
from lessons import tour_pictures as sheet
from lessons.stickers import baselines, exams
from lessons.stickers.captions import caption, describe
from lessons.stickers.scenes import Dice, Scene, draw, single_scene
from lessons.stickers.sheet import CLASSES, SIZES
from lessons.stickers.splits import TEST
from lessons.stickers.textures import BACKGROUNDS
from lessons.train import measures
from minimodels.clip import CLIP, DualEncoder
from minimodels.commands import index, zero_shot
from minimodels.images import open_image, save_picture
from minimodels.metrics import recall_at
from minimodels.templates import default_templates, label_embeddings

SAMPLES, FIRST_SAMPLE = 10, 700_000  # scenes of the test split that no exam uses
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
        """Scenes of the test split with their captions, never seen in training."""
        return exams.captioned(TEST, self.scenes)

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
        body: pieces of HTML from `lessons.report`.
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
    figures, tiles = [], []
    for number, scene in enumerate(scenes):
        image = open_image(folder / f"{number:04d}.png")
        ranked = zero_shot.ranked(list(CLASSES), *zero_shot.classify(tour.model, image, labels))
        best = [(answer["label"], answer["probability"]) for answer in ranked[:3]]
        name = scene.stickers[0].name
        below = report.caption(in_words(scene), best[0][0] == name) + report.bars(best, name)
        figures.append(report.figure(picture(scene), in_words(scene), below))
        tiles.append(sheet.Tile(picture(scene), best[0][0] == name, bars=best))
    right = sum(tile.right for tile in tiles)
    accuracy, rows = zero_shot_accuracy(tour)
    return Section(
        "Which of 64 stickers is it?",
        f"{right} of {SAMPLES} sample scenes right; of {UNSEEN} more unseen ones {accuracy:.1%}",
        [
            report.paragraph(
                "Nobody trained this model to name stickers. It read captions such as “a small red car left of a dog "
                "on grass” and learned which picture each belongs to. Now it compares a picture with “a dog”, “a small "
                f"dog”, “a big dog” and so on for each of {len(CLASSES)} names, and takes the nearest."
            ),
            report.cards(figures),
            report.paragraph(
                "These are the first scenes of a list made from one seed; none was picked or left out.", "note"
            ),
            report.table(["who answers", "right"], rows, f"{UNSEEN} unseen scenes of one sticker"),
        ],
        [sheet.row("Zero-shot: which of 64 names fits?", tiles)],
    )


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
        return CLIP(**model.about["arguments"]).to(model.logit_scale).eval()  # type: ignore[index]


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
    Query("a rocket at night", "rocket", "night"),
    Query("a red balloon on grass", "red balloon", "grass"),
    Query("an elephant on sand", "elephant", "sand"),
    Query("a red car", "red car"),
)


def search_stage(tour: Tour) -> Section:
    """Several queries in a folder of scenes, through the same index that the command keeps; recall over captions."""
    scenes = tour.gallery.scenes
    folder = tour.save_scenes("scenes", scenes)
    own = {f"{number:04d}.png" for number in range(len(scenes))}  # not what somebody else put there
    stamps = [stamp for stamp in index.list_pictures(folder) if stamp[0] in own]
    found = index.open_index(folder, stamps, tour.model, tour.model_name)
    texts = label_embeddings(tour.model, [query.text for query in QUERIES], ("{}",)).float().cpu()
    body, rows, right, possible = [], [], 0, 0
    for query, scores in zip(QUERIES, texts @ found.vectors.T):
        there = sum(map(query.fits, scenes))
        best = scores.topk(min(TOP, len(scenes)))
        hits = [(scenes[number], score) for number, score in zip(best.indices.tolist(), best.values.tolist())]
        right, possible = right + sum(query.fits(s) for s, _ in hits), possible + min(there, len(hits))
        body += [report.heading(f"“{query.text}” (there are {there} such scenes)"), hit_cards(query, hits)]
        tiles = [sheet.Tile(picture(s), query.fits(s), text=f"{score:.2f}") for s, score in hits]
        rows.append(sheet.row(f"Search in {len(scenes)} scenes: “{query.text}”", tiles))
    recall, table = search_recall(tour, found)
    about = "Of each scene's full caption: is that very scene the best hit (R@1), or among the best five (R@5)?"
    intro = (
        f"All {len(scenes)} scenes are embedded once. A query is one more vector; the nearest pictures are the hits."
    )
    return Section(
        f"Search in {len(scenes)} scenes",
        f"{right} of {possible} possible hits in the best {TOP}; a full caption finds its scene first in {recall:.1%}",
        [report.paragraph(intro), *body, report.table(["who searches", "R@1", "R@5"], table, about)],
        rows[:2],
    )


def hit_cards(query: Query, hits: Sequence[tuple[Scene, float]]) -> str:
    """The hits of one query, judged by what the scenes are known to show."""
    figures = [
        report.figure(picture(scene), in_words(scene), report.caption(f"{score:.2f}", query.fits(scene)))
        for scene, score in hits
    ]
    return report.cards(figures)


def search_recall(tour: Tour, found: index.Index) -> tuple[float, list[tuple[str, ...]]]:
    """R@1 of the model, and a table beside the shortcuts."""
    count = len(tour.gallery.captions)
    texts = label_embeddings(tour.model, tour.gallery.captions, ("{}",)).float().cpu()
    scores, own = texts @ found.vectors.T, torch.eye(count, dtype=torch.bool)
    ranks = baselines.colour_only_ranks(tour.gallery)
    rows = [
        (tour.model_name, *(f"{recall_at(scores, own, k):.1%}" for k in (1, 5))),
        (
            "an oracle that is told the content and compares only colours",
            *(f"{(ranks < k).mean():.1%}" for k in (1, 5)),
        ),
        ("chance", *(f"{k / count:.1%}" for k in (1, 5))),
    ]
    return recall_at(scores, own, 1), rows


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
        figures.append(report.figure(picture(exam.scenes[number]), alt, report.bars(rows, pair[0])))
    share = wins.float().mean().item()
    text = (
        "Who stands left of whom? The right sentence and the same words turned round, on 200 unseen scenes: "
        f"the right one wins in {share:.1%}, a coin would in 50 %. CLIP reads which words there are, and hardly their "
        "order. That is known of the official weights too, and one reason why the book goes on to other models."
    )
    return Section(
        "Where it fails: the order of words",
        f"“left of” against its opposite: right in {share:.1%}, a coin in 50 %",
        [report.paragraph(text), report.cards(figures, "wide")],
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
        report.details(f"block by block: {comparison.title}", report.commands(str(comparison).splitlines()))
        for comparison in comparisons
    ]
    worst = max(row.largest for comparison in comparisons for row in comparison.rows)
    verdict = f"{len(comparisons)} models beside timm, transformers and open_clip: largest difference {worst:.0e}"
    return Section(
        "Equal to the reference libraries",
        verdict if ok else f"NOT EQUAL: {verdict}",
        [report.paragraph(text), report.table(head, [parity_row(c) for c in comparisons]), *unfold],
        ok=ok,
    )


def parity_row(comparison: Comparison) -> list[str]:
    """One line of the table."""
    numbers = [f"{comparison.largest(kind):.1e}" for kind in ("output", "block", "gradient", "float32")]
    blocks = sum(row.kind == "block" for row in comparison.rows)
    return [comparison.title.split(":")[0], str(blocks), *numbers, "equal" if comparison.ok else "DIFFERENT"]


STAGES: tuple[tuple[str, Callable[[Tour], Section]], ...] = (
    ("zero-shot", zero_shot_stage),
    ("search", search_stage),
    ("limits", limits_stage),
    ("parity", parity_stage),
)
