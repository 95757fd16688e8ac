"""`python -m minimodels zero-shot | search` as a person types them: answers, odd pictures, each mistake in one line."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open

from minimodels import tiny
from minimodels.__main__ import main
from minimodels.clip import CLIP
from minimodels.commands import index, terminal, zero_shot
from minimodels.images import CLIPPreprocess, open_image, preprocess_to_dict
from minimodels.templates import PHOTO, SEVEN, STICKERS, fill, label_embeddings
from minimodels.tokenizers import BytePairTokenizer, learn_merges

CONTEXT = 48
CAPTIONS = ["a small red car left of a dog on grass", "a big owl at night", "a cat and a rocket on wood"]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A CLIP of stickers in miniature, with random weights."""
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors", seed=0)


def write_model(path, seed, trained_on="Sticker World, split train", image_size=32):
    merges = learn_merges(CAPTIONS, 60)
    arguments = {
        **{"embed_dim": 16, "image_size": image_size, "patch_size": 8, "context_length": CONTEXT, "quick_gelu": False},
        **{"vision_width": 32, "vision_depth": 1, "vision_heads": 2},
        **{"text_width": 32, "text_depth": 1, "text_heads": 2},
        "vocab_size": BytePairTokenizer(merges).vocab_size,
    }
    torch.manual_seed(seed)
    about = {
        **{"system": "clip", "class": "CLIP", "arguments": arguments, "trained_on": trained_on},
        "preprocess": preprocess_to_dict(CLIPPreprocess(image_size)),
        "tokenizer": {"kind": "bpe", "merges": merges, "context_length": CONTEXT},
    }
    tiny.save(path, CLIP(**arguments), about)
    return path


def paint(path, seed=0, size=(48, 48)):
    """A picture of random squares."""
    torch.manual_seed(seed)
    squares = torch.randint(256, (4, 4, 3), dtype=torch.uint8).numpy()
    Image.fromarray(squares).resize(size, Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture
def photo(tmp_path):
    return paint(tmp_path / "scene.png")


@pytest.fixture
def folder(tmp_path):
    """Five pictures, one of them in a folder inside, and things that are none."""
    place = tmp_path / "pictures"
    (place / "inside").mkdir(parents=True)
    for number in range(4):
        paint(place / f"{number}.png", number)
    paint(place / "inside" / "4.JPG", 4)
    (place / "notes.txt").write_text("no picture")
    (place / ".hidden.png").write_bytes(b"no picture")
    return place


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_file):
    """Run a command line with the small model in an empty folder; gives code, stdout and stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments, model=model_file):
        extra = ["--model", str(model)] if model and "--model" not in arguments else []
        code = main([*map(str, arguments), *extra])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def assert_one_clear_line(result, *words):
    """Exit code 2, nothing on stdout, one line on stderr that holds these words."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err
    for word in words:
        assert word.lower() in err.lower(), err


# ---------------------------------------------------------------- zero-shot


@torch.no_grad()
def by_hand(model_file, path, labels, templates):
    """The answer in single steps: {label: (probability, cosine)}."""
    model = tiny.open_file(model_file)
    image = F.normalize(model.encode_image(model.preprocess(open_image(path))[None]), dim=-1)[0]
    means = []
    for label in labels:
        vectors = [model.encode_text(model.tokenize(fill(template, label)))[0] for template in templates]
        means.append(F.normalize(torch.stack([v / v.norm() for v in vectors]).mean(dim=0), dim=0))
    cosines = torch.stack(means) @ image
    shares = (model.logit_scale.exp() * cosines).softmax(dim=0)
    return {label: (float(share), float(cosine)) for label, share, cosine in zip(labels, shares, cosines)}


@pytest.mark.parametrize("templates", [(), ("a picture of {a}.",), SEVEN])
def test_zero_shot_gives_what_the_steps_give(run, photo, model_file, templates):
    labels = ["cat", "an owl", "red car", "🚀"]
    options = [word for template in templates for word in ("--template", template)]
    code, out, _ = run("zero-shot", photo, *labels, "--json", *options)
    answer = json.loads(out)
    expected = by_hand(model_file, photo, labels, templates or STICKERS)
    assert code == 0 and answer["templates"] == list(templates or STICKERS)
    rows = answer["pictures"][0]["answers"]
    assert [row["probability"] for row in rows] == sorted([row["probability"] for row in rows], reverse=True)
    assert len(rows) == len(labels)
    for row in rows:
        assert (row["probability"], row["cosine"]) == pytest.approx(expected[row["label"]], abs=1e-5)


def test_several_pictures_and_top(run, tmp_path):
    first, second = paint(tmp_path / "a.png", 1), paint(tmp_path / "b.png", 2)
    code, out, err = run("zero-shot", first, second, "--labels", "cat", "dog", "owl", "--top", "2", "--json")
    pictures = json.loads(out)["pictures"]
    assert code == 0 and err == ""
    assert [one["picture"] for one in pictures] == [str(first), str(second)]
    assert [len(one["answers"]) for one in pictures] == [2, 2]
    code, out, _ = run("zero-shot", first, second, "--labels", "cat", "dog")
    assert code == 0 and "a.png" in out and "b.png" in out


def test_bars_fit_the_terminal(run, photo, monkeypatch):
    for columns in (30, 44, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = run("zero-shot", photo, "cat", "a very long label " * 8, "赤い車" * 12, "👩‍🚀")
        lines = out.splitlines()
        assert code == 0 and len(lines) == 4
        assert all(terminal.columns(line) <= columns for line in lines), out
        assert all("%" in line for line in lines)


def test_bars_are_as_long_as_their_shares():
    for share in (0.0, 0.03, 0.5, 0.99, 1.0):
        blocks = terminal.bar(share, 20, blocks=True)
        length = sum(terminal.EIGHTHS.index(letter) / 8 if letter in terminal.EIGHTHS else 1 for letter in blocks)
        assert abs(length - share * 20) <= 1 / 16
        assert terminal.bar(share, 20, blocks=False) == "#" * round(share * 20)


def test_a_terminal_without_blocks_gets_plain_letters(photo, model_file):
    command = [sys.executable, "-m", "minimodels", "zero-shot", photo, "cat", "赤い車", "🚀", "--model", model_file]
    result = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    )
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode("ascii")
    assert "#" in text and "cat" in text and "\\U0001f680" in text
    assert all(len(line) <= 60 for line in text.splitlines())


@pytest.mark.parametrize(
    "command, example", [("zero-shot", "zero-shot cat.jpg"), ("search", "search photos/"), ("", "")]
)
def test_help_teaches(capsys, monkeypatch, command, example):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "examples:" in out and example in out


# ---------------------------------------------------------------- odd but valid


def test_of_an_animation_the_first_frame_is_read(run, tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.gif")
    answers = [run("zero-shot", tmp_path / name, "cat", "dog", "--json")[1] for name in ("two.gif", "one.gif")]
    rows = [json.loads(answer)["pictures"][0]["answers"] for answer in answers]
    assert rows[0] == rows[1]


def test_one_pixel_an_emoji_and_a_single_label(run, tmp_path):
    code, out, err = run("zero-shot", paint(tmp_path / "dot.png", size=(1, 1)), "🐶")
    assert code == 0 and "🐶" in out and "100.0%" in out
    assert err.startswith("note: one label alone") and err.count("\n") == 1


def test_five_thousand_words_are_cut_with_a_notice(run, photo, folder):
    words = "rocket dog " * 2500
    code, out, err = run("zero-shot", photo, words, "cat")
    assert code == 0 and err.count("note: ") == 1 and f"reads {CONTEXT}" in err
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, err = run("search", folder, words)
    assert code == 0 and err.count("cut off") == 1


def test_a_template_may_push_a_label_over_the_context(run, photo):
    code, _, err = run("zero-shot", photo, "cat", "dog", "--template", "photo " * 60 + "{}")
    assert code == 0 and "label in its template" in err


def test_a_label_given_twice_counts_once(run, photo):
    code, out, err = run("zero-shot", photo, "cat", "dog", "cat")
    assert code == 0 and len(out.splitlines()) == 2 and "twice" in err


def test_labels_may_hold_braces_and_escape_codes(run, photo):
    code, out, _ = run("zero-shot", photo, "{0} {a}", "\x1b[31mred", "--json")
    assert code == 0 and len(json.loads(out)["pictures"][0]["answers"]) == 2
    code, out, _ = run("zero-shot", photo, "{0} {a}", "\x1b[31mred")
    assert code == 0 and "\x1b" not in out


@pytest.mark.parametrize("size, told", [((48, 48), False), ((128, 128), False), ((129, 129), True), ((60, 48), True)])
def test_a_model_of_stickers_says_so_once_on_other_pictures(run, tmp_path, size, told):
    pictures = [paint(tmp_path / f"{number}.png", number, size) for number in range(2)]
    code, _, err = run("zero-shot", *pictures, "--labels", "cat", "dog")
    assert code == 0
    assert err.count("know only the stickers") == told and ("checkpoints_convert fetch" in err) == told


def test_a_model_of_photographs_says_nothing_and_speaks_of_photos(run, tmp_path):
    model = write_model(tmp_path / "photos.safetensors", seed=0, trained_on="")
    picture = paint(tmp_path / "wide.png", size=(300, 200))
    code, out, err = run("zero-shot", picture, "cat", "dog", "--json", model=model)
    assert code == 0 and err == "" and json.loads(out)["templates"] == list(PHOTO)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(run, photo, folder, dtype):
    assert run("zero-shot", photo, "cat", "dog", "--dtype", dtype)[0] == 0
    assert run("search", folder, "cat", "--dtype", dtype)[0] == 0


# ---------------------------------------------------------------- bad pictures, labels, models


def huge_png():
    """A PNG whose header says 20000 x 20000."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def spoil(path, kind):
    """A file that is no good picture."""
    if kind == "directory":
        path.mkdir()
    elif kind == "truncated":
        paint(path, size=(200, 200))
        path.write_bytes(path.read_bytes()[:150])
    elif kind != "missing":
        contents = {"text": b"a letter", "huge": huge_png(), "bytes": bytes(range(256)) * 9, "empty": b""}
        path.write_bytes(contents[kind])
    return path


BAD = {"missing": "not exist", "directory": "folder", "truncated": "damaged", "text": "text", "huge": "too large"}
BAD |= {"bytes": "not a picture", "empty": "empty"}


@pytest.mark.parametrize("kind, word", BAD.items())
def test_bad_pictures(run, tmp_path, kind, word):
    path = spoil(tmp_path / "bad.png", kind)
    assert_one_clear_line(run("zero-shot", path, "cat", "dog"), word, "bad.png")


def test_a_bad_picture_among_good_ones_prints_no_half_answer(run, photo, tmp_path):
    result = run("zero-shot", photo, spoil(tmp_path / "bad.png", "text"), "--labels", "cat", "dog", "--json")
    assert_one_clear_line(result, "bad.png")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["PHOTO"], ["no label"]),
        (["PHOTO", "cat", ""], ["label 2 is empty"]),
        (["PHOTO", " \n\t", "cat"], ["label 1 is empty"]),
        (["PHOTO", "PHOTO", "cat"], ["is a picture", "--labels"]),
        (["PHOTO", "cat", "--template", "a photo"], ["no place for the label"]),
        (["PHOTO", "cat", "--top", "0"], ["at least 1", "--help"]),
        (["PHOTO", "cat", "--dtype", "int8"], ["float32", "--help"]),
        (["PHOTO", "cat", "--colour"], ["--colour", "--help"]),
        ([], ["IMAGE", "--help"]),
        (["PHOTO", "cat", "--device", "tpu"], ["unknown device", "cpu"]),
        (["PHOTO", "cat", "--device", "cuda:99"], ["gpu"]),
        (["PHOTO", "cat", "--model", "tiny-clp"], ["did you mean", "tiny-clip"]),
        (["PHOTO", "cat", "--model", "openai/clip-vit-base-patch3"], ["did you mean", "openai/clip-vit-base-patch32"]),
        (["PHOTO", "cat", "--model", "nowhere/model.safetensors"], ["nowhere/model.safetensors"]),
    ],
)
def test_bad_arguments(run, photo, monkeypatch, arguments, words):
    monkeypatch.setattr(tiny, "names", lambda: ["tiny-clip"])
    assert_one_clear_line(run("zero-shot", *[photo if word == "PHOTO" else word for word in arguments]), *words)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("kind", ["truncated", "text", "pickle", "vit", "lacking"])
def test_bad_checkpoints(run, photo, tmp_path, model_file, kind):
    path = tmp_path / "broken.safetensors"
    if kind == "truncated":
        path.write_bytes(model_file.read_bytes()[:5000])
    elif kind == "text":
        path.write_text("weights")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": Evil()}))
    elif kind == "vit":
        from minimodels.vit import ViT

        arguments = {
            "image_size": (8, 8),
            "patch_size": 4,
            "embed_dim": 8,
            "depth": 1,
            "num_heads": 2,
            "num_classes": 3,
        }
        tiny.save(path, ViT(**arguments), {"system": "vit", "class": "ViT", "arguments": arguments})
    else:
        lacking(model_file, path)
    assert_one_clear_line(run("zero-shot", photo, "cat", "dog", "--model", path), "broken.safetensors")
    assert not Path("evil").exists()


def lacking(source, path):
    """The same model file without one tensor."""
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())[1:]}
        save_file(tensors, path, metadata=file.metadata())


def test_ctrl_c_ends_quietly(run, photo, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zero_shot, "classify", interrupt)
    assert run("zero-shot", photo, "cat", "dog") == (130, "", "\n")


# ---------------------------------------------------------------- search


def index_file(folder, model="small"):
    return folder / f".pixels-and-prompts.{model}.safetensors"


def count_embedded(monkeypatch):
    """A list that grows by one for every picture that is embedded."""
    seen, real = [], index.embed_batch

    def counting(model, pixels):
        seen.extend(range(len(pixels)))
        return real(model, pixels)

    monkeypatch.setattr(index, "embed_batch", counting)
    return seen


def test_search_orders_by_cosine_and_writes_a_sheet(run, folder, model_file, tmp_path):
    code, out, err = run("search", folder, "a cat", "red car", "--top", "3", "-o", tmp_path / "hits.png", "--json")
    answer = json.loads(out)
    assert code == 0 and err == "" and answer["pictures"] == 5
    model = tiny.open_file(model_file)
    text = label_embeddings(model, ["a cat", "red car"], ["{}"])
    for words, found in zip(text, answer["searches"]):
        cosines = {}
        for path in [*folder.glob("[0-9].png"), folder / "inside" / "4.JPG"]:
            vector = model.encode_image(model.preprocess(open_image(path))[None])[0]
            cosines[str(path)] = F.cosine_similarity(vector, words, dim=0).item()
        best = sorted(cosines, key=lambda path: -cosines[path])[:3]
        assert [hit["picture"] for hit in found["hits"]] == best
        assert [hit["cosine"] for hit in found["hits"]] == pytest.approx([cosines[path] for path in best], abs=1e-5)
    assert open_image(tmp_path / "hits.png").width > 600


def test_search_prints_hits_and_says_what_it_wrote(run, folder, tmp_path):
    code, out, _ = run("search", folder, "a cat", "--top", "99")
    assert code == 0 and out.count(".png") + out.count(".JPG") == 5 + 1
    assert "wrote hits.png" in out and (tmp_path / "here" / "hits.png").is_file()


def test_json_alone_writes_no_sheet(run, folder, tmp_path):
    assert run("search", folder, "a cat", "--json")[0] == 0
    assert not list((tmp_path / "here").iterdir())


def test_the_index_is_refreshed_for_what_changed(run, folder, monkeypatch):
    seen = count_embedded(monkeypatch)

    def search_embeds(expected):
        seen.clear()
        code, out, _ = run("search", folder, "a cat", "--top", "99", "--json")
        assert code == 0 and len(seen) == expected
        return [hit["picture"] for hit in json.loads(out)["searches"][0]["hits"]]

    search_embeds(5)
    search_embeds(0)
    paint(folder / "new.png", 9)
    paint(folder / "0.png", 8, size=(50, 50))
    (folder / "1.png").unlink()
    hits = search_embeds(2)
    assert str(folder / "new.png") in hits and str(folder / "1.png") not in hits and len(hits) == 5
    before = index_file(folder).read_bytes()
    search_embeds(0)
    assert index_file(folder).read_bytes() == before
    shutil.move(folder / "2.png", folder / "moved.png")
    assert str(folder / "moved.png") in search_embeds(1)
    index_file(folder).unlink()
    search_embeds(5)


def test_other_weights_of_the_same_name_make_a_new_index(run, folder, tmp_path, monkeypatch):
    seen = count_embedded(monkeypatch)
    model = write_model(tmp_path / "same.safetensors", seed=1)
    assert run("search", folder, "a cat", model=model)[0] == 0
    write_model(model, seed=2)
    assert run("search", folder, "a cat", model=model)[0] == 0
    assert len(seen) == 10


@pytest.mark.parametrize("damage", ["truncated", "text", "counts"])
def test_a_damaged_index_is_made_anew(run, folder, damage):
    assert run("search", folder, "a cat")[0] == 0
    path, good = index_file(folder), index_file(folder).read_bytes()
    if damage == "counts":
        from safetensors.torch import save_file

        with safe_open(path, framework="pt") as file:
            about, vectors = file.metadata(), file.get_tensor("vectors")
        save_file({"vectors": vectors[:-1].contiguous()}, path, metadata=about)
    else:
        path.write_bytes(good[:100] if damage == "truncated" else b"what is this?")
    code, _, err = run("search", folder, "a cat")
    assert code == 0 and err.count("note: ") == 1 and "damaged" in err
    assert sorted(path.read_bytes()) == sorted(good)


def test_what_cannot_be_read_is_skipped_with_one_notice_each(run, folder):
    spoil(folder / "text.png", "text")
    spoil(folder / "cut.png", "truncated")
    code, out, err = run("search", folder, "a cat", "--json")
    assert code == 0 and json.loads(out)["pictures"] == 5
    assert err.count("note: skipped") == 2 == err.count("\n") and "text.png" in err and "cut.png" in err


def test_ctrl_c_keeps_what_was_embedded(run, folder, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 2)
    real, calls = index.embed_batch, []

    def interrupt(model, pixels):
        calls.append(len(pixels))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model, pixels)

    monkeypatch.setattr(index, "embed_batch", interrupt)
    assert run("search", folder, "a cat") == (130, "", "\n")
    seen = count_embedded(monkeypatch)
    assert run("search", folder, "a cat")[0] == 0
    assert len(seen) == 3


def test_the_sheet_is_not_found_by_the_next_search(run, folder):
    for _ in range(2):
        code, out, _ = run("search", folder, "a cat", "--top", "99", "-o", folder / "hits.png")
        assert code == 0 and "best of 5" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["FOLDER"], ["no text"]),
        (["FOLDER", ""], ["text 1 is empty"]),
        (["FOLDER", "a cat", " "], ["text 2 is empty"]),
        (["FOLDER/none", "a cat"], ["does not exist"]),
        (["FOLDER/0.png", "a cat"], ["is a file", "folder"]),
        (["FOLDER", "a cat", "-o", "hits.doc"], ["hits.doc", ".png"]),
        (["FOLDER", "a cat", "--top", "x"], ["whole number"]),
    ],
)
def test_bad_search_arguments(run, folder, arguments, words):
    assert_one_clear_line(run("search", *[word.replace("FOLDER", str(folder)) for word in arguments]), *words)
    assert not index_file(folder).exists()


def test_folders_without_pictures(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_one_clear_line(run("search", tmp_path / "empty", "a cat"), "no picture")
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    assert_one_clear_line(run("search", tmp_path / "empty", "a cat"), "no picture")
    spoil(tmp_path / "empty" / "bad.png", "text")
    code, out, err = run("search", tmp_path / "empty", "a cat")
    assert code == 2 and out == "" and err.splitlines()[-1].startswith("error: none of the 1 pictures")
    assert not index_file(tmp_path / "empty").exists()


# ---------------------------------------------------------------- folders that cannot be written


@contextmanager
def file_system(path, options):
    """A small file system of its own; skips where this process may not mount one."""
    path.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True).returncode
    ):
        pytest.skip("mounting a file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def remount_read_only(path):
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)


def test_a_full_output_folder(run, folder, tmp_path):
    with file_system(tmp_path / "full", "size=16k") as full:
        code, _, err = run("search", folder, "a cat", "-o", full / "hits.bmp")
        assert code == 2 and err.startswith("error: cannot write") and err.count("\n") == 1 and "space" in err
        assert not list(full.iterdir())


def test_a_read_only_output_folder(run, folder, tmp_path):
    with file_system(tmp_path / "locked", "size=1m") as locked:
        remount_read_only(locked)
        code, _, err = run("search", folder, "a cat", "-o", locked / "hits.png")
        assert code == 2 and err.startswith("error: cannot write") and err.count("\n") == 1


def test_the_index_of_a_read_only_folder_is_kept_in_the_cache(run, folder, tmp_path, monkeypatch):
    seen = count_embedded(monkeypatch)
    with file_system(tmp_path / "locked", "size=1m") as locked:
        shutil.copytree(folder, locked / "pictures")
        remount_read_only(locked)
        code, _, err = run("search", locked / "pictures", "a cat")
        assert code == 0 and len(seen) == 5 and err.count("note: ") == 1 and str(tmp_path / "cache") in err
        code, _, err = run("search", locked / "pictures", "a cat")
        assert code == 0 and len(seen) == 5 and err == ""


def test_an_index_that_can_be_kept_nowhere_is_no_error(run, folder, tmp_path, monkeypatch):
    with file_system(tmp_path / "full", "size=64k") as full:
        for path in folder.glob("[0-3].png"):
            shutil.copy(path, full)
        with pytest.raises(OSError):
            (full / "filler").write_bytes(bytes(100_000))
        monkeypatch.setenv("XDG_CACHE_HOME", str(full / "0.png"))
        code, out, err = run("search", full, "a cat")
        assert code == 0 and "best of 4" in out and err.count("note: ") == 1 and "computes again" in err
        assert sorted(path.name for path in full.iterdir()) == ["0.png", "1.png", "2.png", "3.png", "filler"]


def test_a_sheet_nobody_asked_for_is_no_error_where_it_cannot_be_written(run, folder, tmp_path, monkeypatch):
    with file_system(tmp_path / "locked", "size=1m") as locked:
        remount_read_only(locked)
        monkeypatch.chdir(locked)
        code, out, err = run("search", folder, "a cat")
        monkeypatch.chdir(tmp_path)
        assert code == 0 and "best of 5" in out and err.startswith("note: no picture sheet")
