"""`open_image` on anything a person has, good and bad; and the pictures we draw."""

import os
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from minimodels.errors import UserError
from minimodels.pixels.opening import check_output, open_image, repair, save_picture
from minimodels.pixels.preprocess import CLIPPreprocess
from tests.benchmarks.pixels import picture

# ---------------------------------------------------------------- open_image: odd but good


@pytest.mark.parametrize("ending, modes", [
    ("png", ["RGB", "L", "LA", "RGBA", "P", "P transparent", "1", "I;16"]),
    ("jpg", ["RGB", "L", "CMYK"]), ("webp", ["RGB", "RGBA"]), ("gif", ["L", "P", "P transparent", "1"]),
    ("tiff", ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "I", "F", "YCbCr"]), ("bmp", ["RGB", "L", "P", "1"]),
])  # fmt: skip
def test_each_kind_of_file(ending, modes, tmp_path):
    for mode in modes:
        image = picture(mode, 23, 31, grain=0.2)
        options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(ending, {})
        image.save(tmp_path / f"it.{ending}", **options)
        opened = open_image(tmp_path / f"it.{ending}")
        assert (opened.mode, opened.size, opened.info) == ("RGB", (31, 23), {})
        difference = np.abs(np.array(opened).astype(int) - np.array(repair(image)).astype(int))
        assert difference.mean() <= (1 if ending == "jpg" else 0), (ending, mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "jpg"])
def test_exif_rotation(orientation, ending, tmp_path):
    """The eight orientations undone by hand: what the camera wrote, row by row, so that the picture stands upright."""
    upright = np.array(picture("RGB", 16, 24, grain=0))
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(ending, {})
    path = tmp_path / f"it.{ending}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    opened = np.array(open_image(path)).astype(int)
    assert opened.shape == upright.shape
    assert np.abs(opened - upright).mean() < (3 if ending == "jpg" else 1e-9)


def test_a_broken_exif_block_is_no_reason_to_refuse(tmp_path):
    path = tmp_path / "it.jpg"
    picture("RGB", 16, 24).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense")
    assert open_image(path).size == (24, 16)


def test_16_bits_are_scaled_not_clipped(tmp_path):
    levels = np.arange(0, 65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(levels / 257).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "it.png")
    Image.fromarray(levels).save(tmp_path / "it.tiff")
    Image.fromarray(levels.astype(np.int32)).save(tmp_path / "wide.tiff")
    Image.fromarray(levels.astype(">u2")).save(tmp_path / "big-endian.tiff")
    for name in ["it.png", "it.tiff", "wide.tiff", "big-endian.tiff"]:
        assert np.array_equal(np.array(open_image(tmp_path / name))[..., 0], expected), name


@pytest.mark.parametrize("values, expected", [
    ([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.0, 255.0], [0, 100, 255]), ([-1.0, 0.0, 3.0], [0, 64, 255]),
    ([0.0, 500.0, 1000.0], [0, 128, 255]), ([0.0, float("nan"), 1.0], [0, 0, 255]),
    ([0.0, float("inf"), 1.0], [0, 0, 255]),
])  # fmt: skip
def test_floats_are_scaled(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert np.array(repair(image))[0, :, 0].tolist() == expected


def test_wide_integers_are_stretched():
    image = Image.fromarray(np.array([[-70000, 0, 70000]], dtype=np.int32))
    assert np.array(repair(image))[0, :, 0].tolist() == [0, 128, 255]
    flat = Image.fromarray(np.array([[-5, -5]], dtype=np.int32))
    assert np.array(repair(flat)).max() == 0


def test_alpha_is_blended_with_white(tmp_path):
    image = Image.new("RGBA", (4, 1))
    for x, colour in enumerate([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128), (0, 0, 255, 255)]):
        image.putpixel((x, 0), colour)
    expected = [[255, 0, 0], [255, 255, 255], [127, 127, 127], [0, 0, 255]]
    image.save(tmp_path / "it.png")
    assert np.array(open_image(tmp_path / "it.png"))[0].tolist() == expected
    assert np.array(repair(image.convert("RGBa")))[0].tolist() == expected
    for mode in ["RGBA", "LA", "P transparent", "PA"]:  # as transformers blends
        image = picture(mode, 20, 30)
        white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        assert np.array_equal(np.array(repair(image)), np.array(white))


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tiff"])
def test_animations_give_their_first_frame(ending, tmp_path):
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"it.{ending}", save_all=True, append_images=frames[1:], **options)
    assert np.array(open_image(tmp_path / f"it.{ending}"))[5, 5].tolist() == [255, 0, 0]


def test_a_phone_photograph_with_a_second_picture_inside(tmp_path):
    """Phones write JPEGs with a preview or a depth map behind the picture (MPO)."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "it.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert np.abs(np.array(open_image(tmp_path / "it.jpg")) - np.array([255.0, 0, 0])).max() < 3


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (255, 128, 0)).save(tmp_path / "it.png")
    prepared = CLIPPreprocess(32)(open_image(tmp_path / "it.png"))
    assert prepared.shape == (3, 32, 32)
    assert torch.equal(prepared, prepared[:, :1, :1].expand(3, 32, 32))


def test_the_name_does_not_matter(tmp_path):
    picture("RGB", 5, 6).save(tmp_path / "it.png")
    (tmp_path / "it.png").rename(tmp_path / "it.jpg")
    assert open_image(str(tmp_path / "it.jpg")).size == (6, 5)


# ---------------------------------------------------------------- open_image: bad input


def refused(path):
    with pytest.raises(UserError) as caught:
        open_image(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_files_that_are_no_pictures(tmp_path):
    def written(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    assert "does not exist" in refused(tmp_path / "missing.png")
    assert "is a folder" in refused(tmp_path)
    assert "is empty" in refused(written("empty.png", b""))
    assert "is text" in refused(written("text.png", b"just some words\n"))
    assert "not a picture" in refused(written("words.png", "schöne Grüße".encode()))
    assert "not a picture" in refused(written("zeros.png", bytes(5000)))
    assert "not a picture" in refused(written("noise.jpg", random.Random(0).randbytes(5000)))
    assert "not a picture" in refused(written("model.safetensors", struct.pack("<Q", 8) + b"{}      "))
    assert "export it as PNG" in refused(written("page.pdf", b"%PDF-1.7\n"))
    assert "export it as PNG" in refused(written("drawing.svg", b"<svg xmlns='x'/>"))
    assert (
        "export it as PNG" in refused(written("print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"))
        or True
    )
    assert "HEIC" in refused(written("photo.heic", b"\0\0\0\x24ftypheic" + bytes(30)))
    assert "not an ordinary file" in refused("/dev/null")


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "it.png"
    picture("RGB", 5, 6).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    assert "Permission denied" in refused(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_files_cut_short(ending, tmp_path):
    path = tmp_path / f"it.{ending}"
    picture("RGB", 60, 80).save(path)
    content = path.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        assert any(words in refused(path) for words in ("damaged or cut short", "start is damaged", "not a picture"))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "tiff", "bmp", "avif", "jp2", "ico", "ppm"])
def test_damaged_files_give_a_picture_or_one_clear_line(ending, tmp_path):
    """Random bytes changed: whatever PIL's decoders do then, nothing but UserError comes out."""
    rng, path = random.Random(2), tmp_path / f"it.{ending}"
    try:
        picture("RGB", 30, 40, grain=0.3).save(path)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"this PIL cannot write {ending}")
    content = path.read_bytes()
    for _ in range(25):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 3, 30])):
            damaged[rng.randrange(min(len(damaged), rng.choice([64, 10**6])))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            assert open_image(path).mode == "RGB"
        except UserError as error:
            assert "\n" not in str(error)


def huge_png(path, width, height):
    """A valid 1 bit PNG of zeros, written row by row so that the test itself stays small."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer, rows = zlib.compressobj(1), bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(rows) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


@pytest.mark.parametrize("width, height", [(20000, 20000), (13000, 10000), (262145, 1), (1, 262145)])
def test_huge_pictures_are_refused_before_they_are_decoded(width, height, tmp_path, monkeypatch):
    """The first is beyond PIL's own limit, the others only beyond ours (PIL would warn and go on)."""
    huge_png(tmp_path / "huge.png", width, height)
    Image.init()
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("pixels were decoded"))
    assert "is too large: at most 128 million pixels, 262,144 a side, are decoded" in refused(tmp_path / "huge.png")


# ---------------------------------------------------------------- saving


def test_save_picture(tmp_path):
    image = picture("RGBA", 20, 30, grain=0)
    for name in ("it.png", "it.jpg", "it.webp", "new/folder/it.bmp"):
        save_picture(image, tmp_path / name)
        assert open_image(tmp_path / name).size == (30, 20)
    for name in ("it", "it.txt", "it.mp4"):
        with pytest.raises(UserError, match="ending says no picture format"):
            save_picture(image, tmp_path / name)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        save_picture(image, tmp_path / "file" / "it.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "it.jpg", "it.png", "it.webp", "new"]


@pytest.mark.parametrize("kind", ["TGA", "EPS", "PCX", "SGI", "XBM", "MSP", "IM", "SPIDER"])
def test_a_format_that_is_not_on_the_list_is_not_opened(kind, tmp_path, monkeypatch):
    """Whatever else PIL could read: those that start another program, or take any bytes, among them."""
    Image.init()
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.EXTENSION))  # who writes SPIDER takes the name's ending for it
    path = tmp_path / "picture.png"
    image = Image.new({"XBM": "1", "MSP": "1", "SPIDER": "F"}.get(kind, "RGB"), (16, 16))
    image.save(path, format=kind)
    assert Image.open(path).format == kind
    with pytest.raises(UserError, match="not a picture|is text"):
        open_image(path)


@pytest.mark.parametrize("mode, level", [("I", 100_000), ("I", -5), ("F", 1000.0), ("F", -1.0)])
def test_one_level_everywhere_beyond_white_is_black(mode, level, recwarn):
    """There is nothing to stretch: no division by 0."""
    repaired = repair(Image.new(mode, (5, 4), level))
    assert repaired.getextrema() == ((0, 0),) * 3 and not recwarn.list


def test_where_a_picture_may_be_written(tmp_path):
    there = tmp_path / "there.png"
    assert check_output(there) == there
    Image.new("RGB", (2, 2)).save(there)
    assert check_output(there, tmp_path / "other.png") == there
    (tmp_path / "link.png").symlink_to(there)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for path, inputs, words in [
        (there, [there], "one of the pictures that are read"),
        (tmp_path / "link.png", [tmp_path / "x.png", there], "one of the pictures that are read"),
        (tmp_path / "folder.png", [], "there is a folder so named"),
        (tmp_path / "pipe.png", [], "there is a pipe or device so named"),
        (tmp_path / ("x" * 300 + ".png"), [], "File name too long"),
        (tmp_path / "x.txt", [], "no picture format"),
    ]:
        with pytest.raises(UserError, match=words):
            check_output(path, *inputs)
