"""The tour with a model in miniature: it ends well, writes what it says; its page is whole, escaped, self-contained."""

import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from lessons.stickers.scenes import Dice, single_scene
from lessons.stickers.sheet import CLASS_NUMBER
from lessons.stickers.splits import TEST
from lessons.tour import command as tour
from lessons.tour import html_page
from lessons.tour import match as tour_match
from lessons.tour import refer as tour_refer
from lessons.tour import segment as tour_segment
from lessons.tour import stages as tour_stages
from minimodels.commands import zero_shot
from minimodels.pixels.opening import open_image
from minimodels.stored import embedded, models
from minimodels.words.templates import default_templates, label_embeddings
from tests.commands.command_line import file_system, remount_read_only, write_model

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags close in order; collects pictures, text and links."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.images, self.text, self.links, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A CLIP of stickers in miniature, with random weights."""
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors", seed=0, image_size=64)


@pytest.fixture
def small(monkeypatch):
    """Few and small scenes, one exam round, one comparison."""
    monkeypatch.setattr(tour_stages, "SHOWN", 64)
    monkeypatch.setattr(tour_stages, "ROUNDS", 1)
    monkeypatch.setattr(tour_stages, "PARITY", ())
    monkeypatch.setattr(tour_segment, "EXAM", 4)
    monkeypatch.setattr(tour_refer, "EXAM", 4)
    monkeypatch.setattr(tour_match, "EXAM", 1)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def a_stage(fine):
    """A stage that finds something, or finds something wrong."""

    def stage(shared):
        assert shared.model is not None
        row = tour.sheet.row(
            "a row", [tour.sheet.Tile(Image.new("RGB", (64, 64)), fine, bars=[("<dog>", 0.7), ("x", 0.3)])]
        )
        return tour_stages.Section("A <title>", "found & counted", [html_page.paragraph("`code` <b>")], [row], ok=fine)

    return stage


def test_the_whole_tour(place, small, capsys, model_file, monkeypatch):
    stages = tuple((name, stage) for name, stage in tour.STAGES if name != "parity")
    monkeypatch.setattr(tour, "STAGES", stages)
    assert tour.main(["--model", str(model_file), "--scenes", "12", "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in ("out/index.html", "out/tour.png", "out/samples", "out/scenes", "out/segments", "out/pair"):
        assert name in out and (place / name).exists()
    assert len(list((place / "out/scenes").glob("*.png"))) == 12
    assert all(f"{number}/{len(stages)}" in out for number in range(1, len(stages) + 1))
    assert "minimodels segment" in out and "minimodels match" in out
    assert open_image(place / "out/tour.png").width == tour.sheet.WIDTH
    page = Page((place / "out/index.html").read_text(encoding="utf-8"))
    assert len(page.images) == 10 + 4 * 5 + 5 + 5 + 5 + 5 + 5 * 3 + 2
    assert all(image["alt"].startswith(("a ", "an ")) for image in page.images)
    assert all(link.startswith("data:image/") for link in page.links)
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:]))


def test_again_into_the_same_folder(place, small, capsys, model_file, monkeypatch):
    monkeypatch.setattr(tour, "STAGES", (("search", tour_stages.search_stage),))
    for scenes in (9, 7):
        assert tour.main(["--model", str(model_file), "--scenes", str(scenes), "-o", "out"]) == 0
        assert f"Search in {scenes} scenes" in (place / "out/index.html").read_text(encoding="utf-8")
        Image.new("RGB", (64, 64)).save(place / "out/scenes/mine.png")


def test_a_stage_that_fails_ends_with_1(place, capsys, model_file, monkeypatch):
    for fine, code in ((True, 0), (False, 1)):
        monkeypatch.setattr(tour, "STAGES", (("one", a_stage(fine)),))
        assert tour.main(["--model", str(model_file)]) == code
    text = (place / "tour/index.html").read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in text and "found &amp; counted" in text and "<code>code</code> &lt;b&gt;" in text


def test_the_parity_stage_shows_every_block(monkeypatch):
    monkeypatch.setattr(tour_stages, "PARITY", ("vit",))
    section = tour_stages.parity_stage(None)
    assert section.ok and "ViT beside timm" in "".join(section.body) and "blocks.1" in "".join(section.body)
    Page("".join(section.body))


def test_the_parity_stage_says_when_something_differs(monkeypatch):
    class Different:
        ok, title, rows = False, "ViT beside nothing: random", []
        largest = staticmethod(lambda kind: 0.5)
        __str__ = lambda self: "DIFF"  # noqa: E731

    monkeypatch.setattr(tour_stages, "verify", lambda *_, **__: type("Report", (), {"comparisons": [Different()]}))
    section = tour_stages.parity_stage(None)
    assert not section.ok and "NOT EQUAL" in section.summary and "DIFFERENT" in "".join(section.body)


def test_each_query_has_enough_scenes_to_find():
    scenes = tour_stages.Tour(None, None, "", 500).gallery.scenes
    assert len(scenes) == 500
    for query in tour_stages.QUERIES:
        assert sum(map(query.fits, scenes)) >= tour_stages.TOP


def test_precision_counts_right_hits():
    scores = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]])
    there = torch.tensor([[1, 0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]]).bool()
    assert tour_stages.precision(scores, there) == pytest.approx((4 / 5 + 3 / 5) / 2)  # the third has no five to find


@pytest.mark.parametrize("arguments, word", [(["--model", "nothing"], "nothing"), (["--scenes", "0"], "at least 1")])
def test_bad_arguments(place, capsys, arguments, word):
    assert tour.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and word in err
    assert not list((place / "tour").glob("*"))


def test_a_read_only_place_is_told_before_anything_is_computed(place, capsys, model_file, monkeypatch):
    with file_system(place / "locked", "size=1m") as locked:
        remount_read_only(locked)
        assert tour.main(["--model", str(model_file), "-o", str(locked / "tour")]) == 2
        out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: cannot write") and err.count("\n") == 1


def test_a_full_place_leaves_nothing_half_written(place, small, capsys, model_file, monkeypatch):
    monkeypatch.setattr(tour, "STAGES", (("one", a_stage(True)),))
    with file_system(place / "full", "size=8k") as full:
        assert tour.main(["--model", str(model_file), "-o", str(full)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: cannot write") and "space" in err and err.count("\n") == 1
        assert not list(full.iterdir())


def test_bars_and_tables_escape_what_they_show():
    page = Page(html_page.bars([("<i>&", 0.5)], "x") + html_page.table(["<a>"], [["<b>"], ["1"]], "<c>"))
    assert {"<i>&", "<a>", "<b>", "<c>"} <= set(page.text)
    assert Page(html_page.figure(Image.new("RGB", (9, 9)), 'a "quoted" <alt>')).images[0]["alt"] == 'a "quoted" <alt>'


def test_a_model_of_other_pictures_is_refused(place, capsys):
    model = write_model(place / "other.safetensors", seed=0, image_size=32)
    assert tour.main(["--model", str(model)]) == 2
    assert "64 pixels" in capsys.readouterr().err


@pytest.mark.skipif("tiny-clip" not in embedded.names(), reason="the trained weights are not here")
def test_the_embedded_weights_give_the_right_labels_and_hits(place, small):
    shared = tour_stages.Tour(place, models.load("tiny-clip"), "tiny-clip", 500)
    scenes, images = shared.gallery.scenes, tour_stages.measures.embed_images(shared.model, shared.gallery.images)
    texts = tour_stages.embed(shared.model, [query.text for query in tour_stages.QUERIES])
    for query, best in zip(tour_stages.QUERIES, (texts @ images.T).topk(3).indices.tolist()):
        assert all(query.fits(scenes[number]) for number in best), query.text
    names = ["rocket", "parrot", "umbrella", "castle", "dog", "elephant"]
    vectors = label_embeddings(shared.model, tour_stages.CLASSES, default_templates(shared.model))
    for number, name in enumerate(names):
        scene = single_scene(Dice(TEST.seed(720_000 + number)), TEST, CLASS_NUMBER[name], size=2)
        answers = zero_shot.ranked(
            list(tour_stages.CLASSES), *zero_shot.classify(shared.model, tour_stages.picture(scene, 64), vectors)
        )
        assert answers[0]["label"] == name


@pytest.mark.skipif("tiny-clipseg" not in embedded.names(), reason="the trained weights are not here")
def test_masks_are_judged_by_the_stickers_pixels(place, small):
    """The sample scenes are right; a mask of the wrong sticker, and one of something absent, are not."""
    model = models.load("tiny-clipseg")
    answers = tour_segment.text_answers(model)
    assert all(answer.right and len(answer.names) == len(answer.scene.stickers) + 1 for answer in answers)
    swapped = answers[0]
    names = [swapped.names[1], swapped.names[0]]
    found = swapped.masks[:2].float()
    assert not tour_segment.judge(swapped.scene, names, found).right
    assert not tour_segment.judge(swapped.scene, [swapped.names[-1]], found[:1]).right
    assert tour_segment.judge(swapped.scene, [swapped.names[-1]], 0 * found[:1]).right
