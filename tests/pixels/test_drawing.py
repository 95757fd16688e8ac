"""What is drawn: masks and their legend, sheets of pictures with captions."""

import numpy as np
import pytest
import torch
from PIL import Image

from minimodels.errors import UserError
from minimodels.pixels import drawing
from minimodels.pixels.drawing import COLOURS, overlay, picture_sheet
from minimodels.pixels.opening import repair


def test_picture_sheet_shows_each_picture_and_caption():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    pictures = [Image.new("RGB", (30 + 9 * number, 40), colour) for number, colour in enumerate(colours)]
    captions = ["a dog", "é 😀", "", "W" * 300, "many words " * 50]
    sheet = picture_sheet(pictures, captions, columns=3, cell=100)
    assert sheet.width == 12 + 3 * 112
    pixels = np.array(sheet)
    for number, colour in enumerate(colours):
        found = np.argwhere((pixels == colour).all(-1))
        row, column = divmod(number, 3)
        assert len(found) > 5000 and found[:, 1].min() >= 12 + 112 * column and found[:, 1].max() < 112 * (column + 1)
        assert (found[:, 0].min() > 100) == (row == 1)
    dark = pixels.max(-1) < 100
    assert dark[112:130, 12:112].any() and not dark[:, 112:120].any() and not dark[:, 224:232].any()
    assert picture_sheet(pictures[:2]).size == (12 + 2 * 236, 12 + 224 + 12)
    for bad in [([], []), (pictures, ["one"])]:
        with pytest.raises(UserError, match="one caption each"):
            picture_sheet(*bad)


def test_overlay_paints_outlines_and_names():
    image, masks = Image.new("RGB", (40, 30), "white"), torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, 5:15, 5:15], masks[1, 20:30, 20:40] = True, True
    first, second = COLOURS[:2]
    plain = np.array(overlay(image, masks))
    assert plain.shape == (30, 40, 3)
    assert plain[5, 5].tolist() == list(first) and plain[25, 20].tolist() == list(second)
    assert plain[10, 10].tolist() == np.rint(127.5 + 0.5 * np.array(first)).astype(int).tolist()
    assert plain[29, 30].tolist() != list(second)  # the picture's own edge is no outline
    assert (plain[~masks.any(0).numpy()] == 255).all()
    named = overlay(image, masks, ["the small dog", "tree"])
    assert named.height > 30 and any(named.getpixel((8, y)) == second for y in range(30, named.height))
    with pytest.raises(UserError, match="resize the masks"):
        overlay(image, masks[:, :5])
    with pytest.raises(UserError, match="one name each"):
        overlay(image, masks, ["one"])


def test_a_name_on_several_lines_has_one_square():
    """As many squares of a colour as there are names of it, however long the names are."""
    masks = torch.zeros(3, 30, 40, dtype=torch.bool)
    names = ["dog", "a small red car to the left of a tall tree: not found", "owl"]
    pixels = np.array(overlay(Image.new("RGB", (40, 30), "white"), masks, names))
    assert len(pixels) > 30 + 8 + 4 * 27  # the second takes at least two lines
    squares = []
    for colour in COLOURS[:3]:
        rows = np.flatnonzero((pixels[:, 8] == colour).all(-1))
        assert len(rows) == rows[-1] - rows[0] + 1 == 18 + 1, "one square, without a gap"
        squares.append(rows[0])
    assert squares == sorted(squares) and np.diff(squares)[0] == 27 and np.diff(squares)[1] >= 2 * 27


def rows_of_ink(sheet, top):
    """Where text stands below a picture: the bands of rows with dark pixels, as (first, last) row."""
    dark = np.flatnonzero((np.array(sheet)[top:].max(-1) < 100).any(axis=1))
    breaks = np.flatnonzero(np.diff(dark) > 1)
    return list(zip(dark[[0, *(breaks + 1)]], dark[[*breaks, len(dark) - 1]]))


def test_each_line_of_a_caption_stands_below_the_last():
    white = Image.new("RGB", (100, 100), "white")
    sheet = picture_sheet([white], ["HHH\nHHH\nHHH"], cell=100)
    bands = rows_of_ink(sheet, 112)
    assert len(bands) == 3 and {int(b[0] - a[0]) for a, b in zip(bands, bands[1:])} == {round(1.3 * 18)}
    assert sheet.height == 12 + 100 + 3 * round(1.3 * 18) + 12


def test_a_long_caption_ends_after_four_lines():
    white = Image.new("RGB", (100, 100), "white")
    for words, lines in ((3, 3), (4, 4), (5, 4), (60, 4)):
        sheet = picture_sheet([white], [" ".join(["HHHHHHH"] * words)], cell=100)
        assert sheet.height == 12 + 100 + lines * round(1.3 * 18) + 12
    assert len(rows_of_ink(sheet, 112)) == 4


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "I;16", "CMYK"])
def test_masks_lie_over_pictures_of_any_mode(mode):
    """Also where transparent pixels have a colour of their own."""
    picture = Image.new("RGBA", (8, 6), (200, 0, 0, 0)) if mode == "RGBA" else Image.new(mode, (8, 6), 3)
    masks = torch.zeros(1, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 1:4] = True
    assert np.array_equal(overlay(picture, masks), overlay(repair(picture.copy()), masks))


def test_colours_begin_again_after_the_last():
    masks = torch.zeros(len(COLOURS) + 1, 4, 40, dtype=torch.bool)
    for number in range(len(masks)):
        masks[number, :, 4 * number : 4 * number + 2] = True
    painted = np.array(overlay(Image.new("RGB", (40, 4), "white"), masks))
    assert painted[0, 1].tolist() == painted[0, 4 * len(COLOURS) + 1].tolist() == list(COLOURS[0])


def test_overlay_is_the_same_in_bands(monkeypatch):
    """Masks that lie over each other are rounded once, at the end, wherever a band ends."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 30, 3), np.uint8))
    masks = torch.rand(3, 45, 30, generator=torch.Generator().manual_seed(0)) > 0.4
    whole = np.array(overlay(image, masks))
    monkeypatch.setattr(drawing, "BAND", 7)
    assert np.array_equal(np.array(overlay(image, masks)), whole)
