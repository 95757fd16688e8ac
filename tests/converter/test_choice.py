"""Which file of a folder, dictionary of a file, shards of an index: chosen by rule, nothing left out in silence."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch

from checkpoints_convert.reading import files
from checkpoints_convert.reading.files import PREFERRED, WEIGHTS, find_weights, read_tensors, write_tensors
from minimodels.errors import UserError
from tests.converter.hostile import header
from tests.converter.test_files import refuses

ONE = {"w": torch.ones(2)}


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def index(folder: Path, names: dict[str, str]) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder / "model.safetensors.index.json"


class TestParts:
    def test_the_order_of_preference(self, tmp_path):
        """Each name before all that follow it, in whatever order the file has them."""
        wanted = ("state_dict", "model", "module", "model_state_dict", "net", "network", "params", "teacher", "student")
        assert wanted == PREFERRED
        for place in range(len(wanted)):
            value = {other: {"w": torch.tensor(float(i))} for i, other in enumerate(wanted) if i >= place}
            read = read_tensors(saved(tmp_path / "a.pt", dict(reversed(value.items()))))
            assert read["w"].item() == place and read.parts.keys() == value.keys()

    def test_the_outermost_unless_a_nested_one_holds_more(self, tmp_path):
        inner = {"a": torch.ones(1), "b": torch.ones(1)}
        assert list(read_tensors(saved(tmp_path / "a.pt", {"x": inner, "l": torch.ones(1)}))) == ["a", "b"]
        assert list(read_tensors(saved(tmp_path / "a.pt", {"x": inner, "l": inner["a"], "m": inner["b"]}))) == [
            "l",
            "m",
        ]

    def test_tensors_without_names(self, tmp_path):
        for value in ({0: torch.ones(1), "w": torch.ones(1)}, {"model": {0: torch.ones(1), "w": torch.ones(1)}}):
            refuses(saved(tmp_path / "a.pt", value), "a int for a name", "expected names that are texts")
        refuses(saved(tmp_path / "a.pt", {"model": {0: torch.ones(1)}}), "no tensors with names")
        refuses(saved(tmp_path / "a.pt", {0: {"w": torch.ones(1)}}), "no tensors with names")
        read = read_tensors(saved(tmp_path / "a.pt", {"model": ONE, "queue": {0: torch.ones(1)}, 5: "x"}))
        assert set(read.extras) == {"queue", 5} and list(read) == ["w"]

    @pytest.mark.parametrize("deeper", [ONE, [torch.ones(1)], (torch.ones(1), 2)])
    def test_tensors_within_the_model(self, tmp_path, deeper):
        refuses(
            saved(tmp_path / "a.pt", {"model": {**ONE, "sub": deeper}}), "'model' lies", '"sub"', "holds tensors again"
        )
        read = read_tensors(
            saved(tmp_path / "a.pt", {"model": {**ONE, "n": 5, "l": [1], "d": {"x": 1}}, "ema": deeper})
        )
        assert list(read) == ["w"]

    def test_also_in_the_second_model(self, tmp_path):
        value = {"model": ONE, "bert_model": {"e": torch.ones(1), "sub": ONE}}
        refuses(saved(tmp_path / "a.pt", value), "'bert_model' lies")
        refuses(
            saved(tmp_path / "a.pt", {"model": ONE, "bert_model": {"e": torch.ones(1), 1: torch.ones(1)}}), "for a name"
        )

    @pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2J", "\ud800", "\u202e", "a" * 1001])
    def test_names_that_cannot_be_shown(self, tmp_path, name):
        for value in ({name: torch.ones(1)}, {"model": {name: torch.ones(1)}}, {name: 5, **ONE}):
            refuses(saved(tmp_path / "a.pt", value), "expected names that are texts and can be printed")

    def test_names_that_can(self, tmp_path):
        names = {"a" * 1000: torch.ones(1), "é.猫": torch.ones(1), "a b": torch.ones(1)}
        assert list(read_tensors(saved(tmp_path / "a.pt", names))) == list(names)


class TestShards:
    def test_each_tensor_lies_where_the_index_says(self, tmp_path):
        write_tensors(tmp_path / "1.safetensors", {"a": torch.ones(1)})
        write_tensors(tmp_path / "2.safetensors", {"b": torch.ones(1)})
        read = read_tensors(index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}))
        assert sorted(read) == ["a", "b"] and read.path.name == "model.safetensors.index.json"
        refuses(
            index(tmp_path, {"a": "2.safetensors", "b": "1.safetensors"}), "2 tensors that their shards do not hold"
        )
        refuses(index(tmp_path, {"a": "1.safetensors", "c": "1.safetensors"}), "1 tensors", "first c")

    def test_a_name_in_two_shards(self, tmp_path):
        write_tensors(tmp_path / "1.safetensors", {"a": torch.ones(1), "b": torch.ones(1)})
        write_tensors(tmp_path / "2.safetensors", {"b": torch.zeros(1)})
        refuses(index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}), "b is in 2.safetensors and in another")

    @pytest.mark.parametrize(
        "names", [{}, {"w": "model.safetensors.index.json"}, {"w": "b.index.json"}, {"w": 5}, ["a"]]
    )
    def test_no_index(self, tmp_path, names):
        write_tensors(tmp_path / "a.safetensors", ONE)
        (tmp_path / "b.index.json").write_text(json.dumps({"weight_map": {"w": "model.safetensors.index.json"}}))
        refuses(index(tmp_path, names), "index")

    def test_a_damaged_shard_is_named(self, tmp_path):
        (tmp_path / "1.safetensors").write_bytes(b"\xff\x00" + bytes(6) + b"{")
        with pytest.raises(UserError, match="1.safetensors is damaged"):
            read_tensors(index(tmp_path, {"a": "1.safetensors"}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
class TestBeside:
    @pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "vocab.txt", "tokenizer.json"])
    @pytest.mark.parametrize("kind", ["folder", "pipe", "lost link"])
    def test_settings_that_cannot_be_read_are_told(self, tmp_path, name, kind):
        write_tensors(tmp_path / "model.safetensors", ONE)
        make = {"folder": Path.mkdir, "pipe": os.mkfifo, "lost link": lambda path: path.symlink_to("nowhere")}[kind]
        make(tmp_path / name)
        with pytest.raises(UserError, match=f"{name} is no file that can be read"):
            read_tensors(tmp_path)

    @pytest.mark.parametrize("name", WEIGHTS)
    def test_weights_that_cannot_be_read_are_told(self, tmp_path, name):
        write_tensors(tmp_path / "other.pth", ONE)
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=f"{name} is no file that can be read"):
            find_weights(tmp_path)

    def test_links_are_followed(self, tmp_path):
        write_tensors(tmp_path / "blob.safetensors", ONE)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "model.safetensors").symlink_to(tmp_path / "blob.safetensors")
        assert list(read_tensors(tmp_path / "in")) == ["w"]


class TestHeaders:
    def entry(self, **changes: object) -> dict[str, object]:
        return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes

    def test_the_length_of_the_header(self, tmp_path):
        content = json.dumps({"w": self.entry()}).encode()
        good = header(content)
        (tmp_path / "a.safetensors").write_bytes(good)
        assert len(read_tensors(tmp_path / "a.safetensors")) == 1
        for length in (len(good) - 7, 2**40, 2**63, 2**64 - 1):
            (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + good[8:])
            refuses(
                tmp_path / "a.safetensors", f"its header alone should take {length:,} bytes, the file has {len(good):,}"
            )
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(good) - 8) + good[8:])
        assert "header alone" not in refuses(tmp_path / "a.safetensors", "damaged")

    def test_limits(self, tmp_path, monkeypatch):
        content = header(
            json.dumps({f"w{i}": self.entry(shape=[0], data_offsets=[0, 0]) for i in range(5)}).encode(), 0
        )
        (tmp_path / "a.safetensors").write_bytes(content)
        monkeypatch.setattr(files, "MOST_TENSORS", 5)
        assert len(read_tensors(tmp_path / "a.safetensors")) == 5
        monkeypatch.setattr(files, "MOST_TENSORS", 4)
        refuses(tmp_path / "a.safetensors", "it has 5 tensors")
        monkeypatch.setattr(files, "MOST_TENSORS", 5)
        monkeypatch.setattr(files, "HEADER", len(content) - 8)
        assert len(read_tensors(tmp_path / "a.safetensors")) == 5
        monkeypatch.setattr(files, "HEADER", len(content) - 9)
        refuses(tmp_path / "a.safetensors", "none of a checkpoint takes more")

    def test_what_is_missing_is_told_where_it_can_be(self, tmp_path, monkeypatch):
        content = json.dumps(
            {"__metadata__": {"a": "b"}, "w": self.entry(), "v": self.entry(data_offsets=[8, 16])}
        ).encode()
        (tmp_path / "a.safetensors").write_bytes(header(content, 15))
        refuses(tmp_path / "a.safetensors", f"it should have {len(content) + 24:,} bytes, it has {len(content) + 23:,}")
        monkeypatch.setattr(files, "EXPLAINED", len(content) - 1)
        assert "it should have" not in refuses(tmp_path / "a.safetensors", "damaged")

    @pytest.mark.parametrize("ends", [[0, 10**4299], [0, 2**63], [8], "x", None, [0, "8"], [0, True]])
    def test_ends_that_are_none(self, tmp_path, ends):
        content = json.dumps({"w": self.entry(data_offsets=ends)}).encode()
        (tmp_path / "a.safetensors").write_bytes(header(content, 8))
        refuses(tmp_path / "a.safetensors", "damaged")

    @pytest.mark.parametrize("shape", [[1] * 65, [0, 2**62, 2**62]])
    def test_shapes_that_are_none(self, tmp_path, shape):
        ends = [0, 4] if shape[0] else [0, 0]
        content = json.dumps({"w": self.entry(shape=shape, data_offsets=ends)}).encode()
        (tmp_path / "a.safetensors").write_bytes(header(content, ends[1]))
        refuses(tmp_path / "a.safetensors", "damaged", "a tensor of")
