"""`python -m minimodels search` as a person types it: order, index, sheet, and every mistake in one line."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from checkpoints_convert.proof.compare import difference
from minimodels.commands import search
from minimodels.pixels.opening import open_image
from minimodels.stored import models, search_index
from minimodels.words.templates import label_embeddings
from tests.commands.command_line import (
    assert_one_clear_line,
    command_line,
    file_system,
    paint,
    paint_folder,
    remount_read_only,
    spoil,
    write_model,
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A CLIP of stickers in miniature, with random weights."""
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors", seed=0)


@pytest.fixture
def folder(tmp_path):
    return paint_folder(tmp_path / "pictures")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_file):
    return command_line(capsys, monkeypatch, tmp_path, model_file)


def index_file(folder, model="small"):
    return folder / f".pixels-and-prompts.{model}.safetensors"


def count_embedded(monkeypatch):
    """A list that grows by one for every picture that is embedded."""
    seen, real = [], search_index.embed_batch

    def counting(model, pixels):
        seen.extend(range(len(pixels)))
        return real(model, pixels)

    monkeypatch.setattr(search_index, "embed_batch", counting)
    return seen


def test_search_orders_by_cosine_and_writes_a_sheet(run, folder, model_file, tmp_path):
    code, out, err = run("search", folder, "a cat", "red car", "--top", "3", "-o", tmp_path / "hits.png", "--json")
    answer = json.loads(out)
    assert code == 0 and err == "" and answer["pictures"] == 5
    model = models.open_file(model_file)
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


def test_like_orders_by_cosine_of_pictures_beside_texts(run, folder, model_file, tmp_path):
    """One call answers texts and pictures; the index is the same, a picture of another folder is one more query."""
    shown = paint(tmp_path / "shown.jpg", 7)
    words = ("a cat", "--like", shown, "--like", folder / "2.png", "--like", shown)
    code, out, err = run("search", folder, *words, "--top", "9", "--json", "-o", tmp_path / "hits.png")
    answer = json.loads(out)
    assert code == 0 and err == "" and answer["pictures"] == 5
    assert [{**one, "hits": len(one["hits"])} for one in answer["searches"]] == [
        {"text": "a cat", "hits": 5},
        {"like": str(shown), "hits": 5},
        {"like": str(folder / "2.png"), "hits": 4},  # without itself
    ]
    model = models.open_file(model_file)
    paths = [*sorted(folder.glob("[0-9].png")), folder / "inside" / "4.JPG"]
    vectors = {str(path): model.encode_image(model.preprocess(open_image(path))[None])[0] for path in [*paths, shown]}
    for found in answer["searches"][1:]:
        query = vectors[found["like"]]
        cosines = {
            str(path): F.cosine_similarity(vectors[str(path)], query, dim=0).item()
            for path in paths
            if str(path) != found["like"]
        }
        best = sorted(cosines, key=lambda path: -cosines[path])
        assert [hit["picture"] for hit in found["hits"]] == best
        assert [hit["cosine"] for hit in found["hits"]] == pytest.approx([cosines[path] for path in best], abs=1e-5)
    assert open_image(tmp_path / "hits.png").height > 600  # three rows


def test_like_is_said_and_leaves_itself_out(run, folder, monkeypatch, tmp_path):
    shutil.copy(folder / "1.png", folder / "copy.png")
    (folder / "linked.png").symlink_to(folder / "1.png")
    code, out, _ = run("search", folder, "--like", folder / "1.png", "--top", "2")
    lines = out.splitlines()
    assert code == 0 and lines[0] == "like 1.png (best of 5 other pictures)"
    assert "1.000" in lines[1] and "copy.png" in lines[1] and "linked" not in out
    seen = count_embedded(monkeypatch)
    monkeypatch.setattr(search, "embed_batch", search_index.embed_batch)
    assert run("search", folder, "--like", paint(tmp_path / "other.png", 7))[1].startswith("like other.png (best of 7 ")
    assert len(seen) == 1  # the query alone: the folder is in the index


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
    with safe_open(path, framework="pt") as file:
        about, vectors = file.metadata(), file.get_tensor("vectors").clone()  # not mapped: the file changes
    if damage == "counts":
        save_file({"vectors": vectors[:-1].contiguous()}, path, metadata=about)
    else:
        path.write_bytes(good[:100] if damage == "truncated" else b"what is this?")
    code, _, err = run("search", folder, "a cat")
    assert code == 0 and err.count("note: ") == 1 and "damaged" in err
    with safe_open(path, framework="pt") as file:
        assert without_sum(file) == {key: value for key, value in about.items() if key != "sum"}
        assert difference(file.get_tensor("vectors"), vectors) <= 1e-5  # embedded twice, in float32


def without_sum(file):
    """What an index says, but for the checksum: embedded twice, the last bits of its numbers may differ."""
    return {key: value for key, value in file.metadata().items() if key != "sum"}


def test_an_index_whose_names_changed_places_is_made_anew(run, folder):
    first = run("search", folder, "a cat")
    with safe_open(index_file(folder), framework="pt") as file:
        about, vectors = file.metadata(), file.get_tensor("vectors").clone()
    about["pictures"] = json.dumps(json.loads(about["pictures"])[::-1])
    save_file({"vectors": vectors}, index_file(folder), metadata=about)
    code, out, err = run("search", folder, "a cat")
    assert code == 0 and err.count("note: ") == 1 and "is damaged and is made anew" in err
    assert out == first[1]


STAMPS = [
    "null",
    "5",
    "{}",
    "[5]",
    "[[]]",
    "",
    "[",
    '[["a", "b", "c"]]',
    "[[1, 2, 3]]",
    '[["a.png", 1.5, 2]]',
    "[" * 9999,
]


@pytest.mark.parametrize("stamps", [*STAMPS, '[["a.png", 1, ' + "9" * 5000 + "]]", '[["a.png", -1, 5]]', "missing"])
def test_an_index_with_odd_stamps_is_made_anew(run, folder, stamps):
    assert run("search", folder, "a cat")[0] == 0
    with safe_open(index_file(folder), framework="pt") as file:
        about, vectors = file.metadata(), file.get_tensor("vectors").clone()
    odd = {key: value for key, value in {**about, "pictures": stamps}.items() if value != "missing"}
    save_file({"vectors": vectors[:1].contiguous()}, index_file(folder), metadata=odd)
    code, _, err = run("search", folder, "a cat")
    assert code == 0 and err.count("note: ") == 1 and "is damaged and is made anew" in err
    with safe_open(index_file(folder), framework="pt") as file:
        assert without_sum(file) == {key: value for key, value in about.items() if key != "sum"}


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v[:, :-1],
        lambda v: F.normalize(v[:, :-1], dim=-1),
        lambda v: F.pad(v, (0, 1)),
        lambda v: torch.cat([v, v], dim=1),
        lambda v: v[0],
        lambda v: v.half(),
        lambda v: v * 1.01,
        lambda v: torch.full_like(v, torch.nan),
        lambda v: torch.cat([v[:-1], torch.full_like(v[:1], torch.inf)]),
        lambda v: (v * 9).long(),
        lambda v: v[:0],
        lambda v: v[None],
        lambda v: v.flip(0),  # unit vectors all, each of another picture
        lambda v: -v,
    ],
)
def test_an_index_with_other_vectors_is_made_anew(run, folder, change):
    assert run("search", folder, "a cat")[0] == 0
    with safe_open(index_file(folder), framework="pt") as file:
        about, vectors = file.metadata(), file.get_tensor("vectors").clone()
    for name in ("vectors", "others"):
        save_file({name: change(vectors).contiguous()}, index_file(folder), metadata=about)
        code, _, err = run("search", folder, "a cat")
        assert code == 0 and err.count("note: ") == 1 and "is damaged and is made anew" in err
        with safe_open(index_file(folder), framework="pt") as file:
            assert difference(file.get_tensor("vectors"), vectors) <= 1e-5  # embedded twice, in float32


def test_a_model_file_with_the_longest_name_keeps_an_index(run, folder, tmp_path, model_file):
    long = tmp_path / f"{'m' * 240}.safetensors"
    long.write_bytes(model_file.read_bytes())
    code, _, err = run("search", folder, "a cat", model=long)
    assert code == 0 and err == "" and index_file(folder, "m" * 100).is_file()


def test_what_cannot_be_read_is_skipped_with_one_notice_each(run, folder):
    spoil(folder / "text.png", "text")
    spoil(folder / "cut.png", "truncated")
    code, out, err = run("search", folder, "a cat", "--json")
    assert code == 0 and json.loads(out)["pictures"] == 5
    assert err.count("note: skipped") == 2 == err.count("\n") and "text.png" in err and "cut.png" in err


def test_ctrl_c_keeps_what_was_embedded(run, folder, monkeypatch):
    monkeypatch.setattr(search_index, "BATCH", 2)
    real, calls = search_index.embed_batch, []

    def interrupt(model, pixels):
        calls.append(len(pixels))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model, pixels)

    monkeypatch.setattr(search_index, "embed_batch", interrupt)
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
        (["FOLDER", "", "--like", "FOLDER/0.png"], ["text 1 is empty"]),
        (["FOLDER", "--like", "FOLDER/none.png"], ["does not exist"]),
        (["FOLDER", "--like", "FOLDER/notes.txt"], ["is text, not a picture"]),
        (["FOLDER", "--like", "FOLDER"], ["folder"]),
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


def test_a_folder_of_the_query_alone(run, tmp_path):
    (tmp_path / "one").mkdir()
    picture = paint(tmp_path / "one" / "a.png")
    assert_one_clear_line(run("search", tmp_path / "one", "--like", picture), "no picture beside", "a.png")


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
