"""What is drawn: masks and their legend, sheets of pictures with captions."""

import numpy as np
import pytest
import torch
from PIL import Image

from minimodels.errors import UserError
from minimodels.pixels.drawing import COLOURS, overlay, picture_sheet


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
