"""Sticker World: same seed same scene, masks are what is seen, expressions are true, held-out stays held out."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from lessons.stickers import __main__ as command
from lessons.stickers import baselines, exams, questions, refer, sheet
from lessons.stickers.captions import caption, relation, with_article
from lessons.stickers.scenes import Dice, draw, random_scene
from lessons.stickers.splits import GROUNDS, HELD_OUT, PAIRS, SPLITS, TEST, TRAIN, VAL
from lessons.stickers.textures import BACKGROUNDS, PER_KIND, texture
from minimodels.errors import UserError


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Mean row and column of a mask's pixels."""
    rows, columns = np.nonzero(mask)
    return rows.mean(), columns.mean()


def scenes_of(split, count):
    """Scenes of every maker: plain and hard, expressions, questions, pairs, single stickers."""
    for number in range(count):
        dice = Dice(split.seed(number))
        yield random_scene(dice, split, dice.between(1, 4), hard=number % 2 == 1)
        for kind in refer.KINDS:
            yield refer.expression(number, split, kind, hard=number % 2 == 1).scene
        for kind in questions.KINDS:
            yield questions.question(number, split, kind, hard=number % 2 == 1).scene
        yield from (scene for scene, _ in questions.one_shot_pair(number, split, hard=number % 2 == 1))
    if not split.held_out:
        yield from exams.binding(split, count).scenes
        yield from exams.word_order(split, count).scenes
    yield from exams.singles(split, 1).scenes


def combinations(scene):
    """The held-out class-background and class-class combinations that a scene shows, from the lists of names alone."""
    kinds = {sticker.kind for sticker in scene.stickers}
    found = {(kind, scene.background) for kind in kinds} & set(GROUNDS)
    return found | {pair for pair in PAIRS if set(pair) <= kinds}


def test_sixty_four_names_that_read_well():
    assert len(sheet.CLASSES) == len(set(sheet.CLASSES)) == 64
    assert all(name.isascii() and name.isalpha() and not name.endswith("s") or name == "cactus" or name == "bus"
               or name == "dress" or name == "octopus" for name in sheet.CLASSES)  # fmt: skip
    assert [with_article(name) for name in ("dog", "owl", "umbrella")] == ["a dog", "an owl", "an umbrella"]


def test_same_seed_same_scene_on_every_machine():
    """Digests of descriptions and textures: the weights were trained on these very scenes, wherever they are made
    again.

    (Stickers are resized by Pillow, whose rounding may change with its version, and are left out.)
    """
    told = [repr(refer.expression(number, TEST, kind)) for number in range(20) for kind in refer.KINDS]
    told += [repr(questions.question(number, TEST, hard=True)) for number in range(60)]
    told += exams.training_scenes(range(60), 0.3).captions
    assert hashlib.sha256("\n".join(told).encode()).hexdigest()[:16] == "002e90753b9c2a48"
    pixels = b"".join(texture(kind, TEST.bank, n, 128).tobytes() for kind in range(6) for n in range(PER_KIND))
    assert hashlib.sha256(pixels).hexdigest()[:16] == "600fd1678d4f6cd9"


def test_same_seed_same_pixels_in_any_order():
    first = [draw(scene)[0] for scene in scenes_of(VAL, 3)]
    list(scenes_of(TRAIN, 2))
    assert all((a == draw(b)[0]).all() for a, b in zip(first, scenes_of(VAL, 3)))


def test_masks_are_what_is_seen():
    """Taking a sticker out changes pixels of its mask, and none outside the reach of its own soft edge."""
    for scene in itertools.islice(scenes_of(TEST, 3), 40):
        picture, owner = draw(scene)
        assert set(np.unique(owner)) - {0} == set(range(1, len(scene.stickers) + 1))
        for number in range(len(scene.stickers)):
            without = scene._replace(stickers=scene.stickers[:number] + scene.stickers[number + 1 :])
            changed = (draw(without)[0] != picture).any(axis=-1)
            alone = draw(scene._replace(stickers=(scene.stickers[number],)))[1] == 1
            hidden = np.isin(owner, range(number + 2, len(scene.stickers) + 1))
            mask = owner == number + 1
            assert (mask == (alone & ~hidden)).all()
            assert changed[mask].mean() > 0.9  # a sticker may have its ground's very colour in a few pixels
            near = alone.copy()
            for axis, step in itertools.product((0, 1), (-2, -1, 1, 2)):
                near |= np.roll(near, step, axis)
            assert (changed & ~near).sum() <= 0.1 * alone.sum()  # strings and stalks that are half transparent


def test_every_sticker_can_be_seen():
    for scene in scenes_of(TRAIN, 25):
        _, owner = draw(scene)
        for number, sticker in enumerate(scene.stickers, start=1):
            alone = draw(scene._replace(stickers=(sticker,)))[1]
            assert (owner == number).sum() > 0.08 * alone.sum()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("kind", refer.KINDS)
def test_expressions_are_true_of_their_target_alone(kind, hard):
    """Truth is checked from the words and the pixels: names, whole masks' sizes, and centres of masks."""
    for number in range(60):
        asked = refer.expression(number, TEST, kind, hard)
        assert asked.kind == kind
        assert true_of(asked) == ([] if asked.target < 0 else [asked.target]), (number, asked)


def true_of(asked) -> list[int]:
    """The stickers an expression holds for, read off its words independently of how the scene was made."""
    stickers = asked.scene.stickers
    masks = [draw(asked.scene._replace(stickers=(sticker,)))[1] == 1 for sticker in stickers]
    centres = [centre(mask) for mask in masks]
    words = asked.text.removeprefix("the ").split()
    same = [n for n, sticker in enumerate(stickers) if sticker.name in words and sticker.name == asked.noun]
    if words[0] in ("small", "big"):
        return [n for n in same if stickers[n].size == {"small": 0, "big": 2}[words[0]]]
    if words[0] in sheet.COLOURS:
        return [n for n in same if stickers[n].colour_name == words[0]]
    if words[0] in ("biggest", "smallest"):
        order = sorted(same, key=lambda n: masks[n].sum())
        return [order[-1 if words[0] == "biggest" else 0]]
    if words[-1] in ("left", "right", "top", "bottom"):
        axis = 1 if words[-1] in ("left", "right") else 0
        order = sorted(same, key=lambda n: centres[n][axis])
        return [order[0 if words[-1] in ("left", "top") else -1]]
    if len(words) > 1:  # the X <relation> the Y
        phrase, anchor = asked.text.removeprefix("the ").split(" the ")
        (other,) = [n for n, sticker in enumerate(stickers) if sticker.name == anchor]
        return [n for n in same if phrase.endswith(side(centres[n], centres[other]))]
    return same


def side(of, seen_from) -> str:
    """Which relation word describes a centre best, seen from another: the larger of the two distances decides."""
    down, right = of[0] - seen_from[0], of[1] - seen_from[1]
    if abs(right) > abs(down):
        return "left of" if right < 0 else "right of"
    return "above" if down < 0 else "below"


@pytest.mark.parametrize("kind", ["attribute", "place", "extreme", "relation"])
def test_no_word_can_be_left_out(kind):
    """There is a second sticker of the class, and a sticker of another class: neither the noun nor the rest is
    enough."""
    for number in range(60):
        asked = refer.expression(number, TEST, kind, hard=True)
        names = Counter(sticker.name for sticker in asked.scene.stickers)
        assert names[asked.noun] >= 2 and len(names) >= 2


def test_captions_name_everything_and_nothing_else():
    for number in range(200):
        dice = Dice(VAL.seed(number))
        scene = random_scene(dice, VAL, dice.between(1, 4))
        words = caption(dice, scene, rich=True).replace(",", "").split()
        assert sorted(w for w in words if w in sheet.CLASSES) == sorted(s.name for s in scene.stickers)
        assert words.count("small") == sum(s.size == 0 for s in scene.stickers)
        assert words.count("big") == sum(s.size == 2 for s in scene.stickers)


def test_stated_relations_agree_with_centres():
    exam = exams.word_order(TEST, 60)
    for scene, text in zip(exam.scenes, exam.captions):
        where = next(words for words in ("left of", "right of", "above", "below") if words in text)
        first = next(s for s in scene.stickers if s.name in text.split(where)[0].split())
        second = next(s for s in scene.stickers if s is not first)
        centres = [centre(draw(scene._replace(stickers=(s,)))[1] == 1) for s in (first, second)]
        assert relation(first, second) == where == side(*centres)


@pytest.mark.parametrize("split", [TRAIN, VAL, TEST], ids=lambda split: split.name)
def test_held_out_combinations_never_appear_elsewhere(split):
    assert not any(combinations(scene) for scene in scenes_of(split, 60))
    for kind, ground in GROUNDS[:4]:  # not even when the class is asked for
        scenes = [random_scene(Dice(split.seed(n)), split, 3) for n in range(50)]
        assert not any(s.background == ground and kind in {x.kind for x in s.stickers} for s in scenes)


def test_held_out_scenes_show_a_held_out_combination():
    for number in range(80):
        for hard in (False, True):
            dice = Dice(HELD_OUT.seed(number))
            assert combinations(random_scene(dice, HELD_OUT, dice.between(1, 4), hard=hard))
    assert all(combinations(scene) for scene in exams.singles(HELD_OUT, 1).scenes)


def test_splits_share_neither_seeds_nor_textures():
    seeds = [(split.first_seed, split.seed(10**12 - 1)) for split in SPLITS.values()]
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(sorted(seeds)))
    with pytest.raises(ValueError, match="outside the split"):
        TRAIN.seed(10**12)
    for one, other in itertools.combinations((TRAIN, VAL, TEST), 2):
        for kind in range(len(BACKGROUNDS)):
            mine, theirs = (
                {texture(kind, split.bank, number, 128).tobytes() for number in range(PER_KIND)}
                for split in (one, other)
            )
            assert not mine & theirs


def test_answers_are_balanced_and_true():
    for kind in ("is there", "where is", "how many", "what colour"):
        answers = [questions.question(number, TEST, kind, hard=True).answer for number in range(400)]
        assert baselines.best_constant(answers) < 1.35 / len(set(answers))
    for number in range(60):
        asked = questions.question(number, TEST, "how many")
        names = Counter(sticker.name for sticker in asked.scene.stickers)
        assert names[asked.text.split()[-1].rstrip("?")] == int(asked.answer)


def test_pairs_share_the_class_of_their_targets():
    for number in range(60):
        (a, first), (b, second) = questions.one_shot_pair(number, TEST, hard=True)
        assert a.stickers[first].kind == b.stickers[second].kind
        assert len({s.kind for s in b.stickers}) == len(b.stickers) >= 2


def test_retrieval_scenes_can_be_told_apart_by_their_captions():
    exam = exams.captioned(TEST, 300)
    assert len({exams.content(scene) for scene in exam.scenes}) == len(set(exam.captions)) == 300


def test_shortcuts_fail_where_they_should():
    def score(shortcut, kind):
        return np.mean([baselines.SHORTCUTS[shortcut](refer.expression(n, TEST, kind, True)) for n in range(200)])

    assert score("ignore the relation", "class") == 1
    for kind in ("attribute", "place", "extreme", "relation"):
        assert score("ignore the relation", kind) <= 0.5
        assert score("colour only", kind) < 0.65
    assert score("forget the anchor", "relation") < 0.7


def test_recoloured_stickers_keep_their_shape():
    car = sheet.CLASS_NUMBER["car"]
    own, blue = (np.asarray(sheet.coloured(car, number)) for number in (0, sheet.COLOURS.index("blue")))
    assert (own[..., 3] == blue[..., 3]).all() and (own[..., :3] != blue[..., :3]).any()
    with pytest.raises(UserError, match="own colours only"):
        sheet.coloured(sheet.CLASS_NUMBER["dog"], 1)


def test_command_line(tmp_path, capsys):
    assert command.main(["contact", "-o", str(tmp_path / "sheet.png"), "--split", "held-out"]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 100_000
    assert command.main(["sheet", "--font", str(tmp_path / "no.ttf"), "-o", str(tmp_path / "x.png")]) == 2
    assert "no Noto Color Emoji font" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "words", [["contact", "--start", "-1"], ["contact", "--start", "9" * 12], ["shortcuts", "--count", "0"]]
)
def test_numbers_of_scenes_are_checked(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2 and "whole number" in capsys.readouterr().err and not [*tmp_path.iterdir()]
