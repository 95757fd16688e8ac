"""Checkpoint files: every format read right, nothing in them run, one clear sentence for each kind of wrong file."""

import argparse
import errno
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from checkpoints_convert.reading import files
from checkpoints_convert.reading.files import read_tensors, write_tensors
from minimodels.errors import UserError

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)


def some_tensors() -> dict[str, torch.Tensor]:
    """Every dtype we keep, a scalar, an empty one, a transposed one, two that share memory."""
    tensors = {f"a.{i}.weight": torch.randn(3, 5).mul(9).to(dtype) for i, dtype in enumerate(DTYPES)}
    tensors["scalar"] = torch.tensor(4.6052)
    tensors["empty"] = torch.empty(0, 3)
    tensors["transposed"] = torch.randn(4, 6).T
    tensors["tied"] = tensors["a.1.weight"]
    return tensors


def assert_same(got, wanted):
    assert list(got) == list(wanted)
    for name, tensor in wanted.items():
        assert got[name].dtype == tensor.dtype and got[name].shape == tensor.shape, name
        assert torch.equal(got[name], tensor), name


def refuses(path: Path, *words: str) -> str:
    """The one-line error that reading gives; it names the file and says each of `words`."""
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    for word in words:
        assert word in message, message
    return message


class TestFormats:
    @pytest.mark.parametrize("legacy", [False, True])
    def test_torch_save(self, tmp_path, legacy):
        tensors = some_tensors()
        torch.save(tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        read = read_tensors(tmp_path / "a.pth")
        assert_same(read, tensors)
        assert read.kind == ("torch_legacy" if legacy else "torch") and read.extras == {}
        assert read["tied"].data_ptr() == read["a.1.weight"].data_ptr()

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_every_protocol(self, tmp_path, protocol):
        tensors = some_tensors()
        torch.save({"model": OrderedDict(tensors)}, tmp_path / "a.pth", pickle_protocol=protocol)
        assert_same(read_tensors(tmp_path / "a.pth"), tensors)

    def test_a_module_state_dict_with_parameters_and_metadata(self, tmp_path):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        model[0].weight.note = "an attribute of the tensor"  # saved through _rebuild_from_type_v2
        torch.save(dict(model.named_parameters()) | dict(model.named_buffers()), tmp_path / "a.pth")
        torch.save(model.state_dict(), tmp_path / "b.pth")
        assert_same(read_tensors(tmp_path / "a.pth"), {**dict(model.named_parameters()), **dict(model.named_buffers())})
        assert_same(read_tensors(tmp_path / "b.pth"), model.state_dict())

    def test_new_dtypes(self, tmp_path):
        tensors = {"a": torch.randn(4).to(torch.float8_e4m3fn), "b": torch.arange(5).to(torch.uint16)}
        torch.save(tensors, tmp_path / "a.pth")
        read = read_tensors(tmp_path / "a.pth")
        assert read["a"].dtype == torch.float8_e4m3fn and torch.equal(read["a"].float(), tensors["a"].float())
        assert read["b"].tolist() == [0, 1, 2, 3, 4]

    def test_safetensors(self, tmp_path):
        tensors = {name: tensor for name, tensor in some_tensors().items() if name not in ("tied", "transposed")}
        write_tensors(tmp_path / "a.safetensors", tensors, {"system": "clip"})
        read = read_tensors(tmp_path / "a.safetensors")
        assert_same(dict(sorted(read.items())), dict(sorted(tensors.items())))
        assert read.kind == "safetensors" and read.metadata == {"system": "clip"}

    def test_the_content_says_what_it_is_not_the_name(self, tmp_path):
        write_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)})
        (tmp_path / "a.safetensors").rename(tmp_path / "a.bin")
        assert read_tensors(tmp_path / "a.bin").kind == "safetensors"

    @pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
    def test_memory_is_the_file(self, tmp_path, kind):
        """Nothing is copied: changing a byte of the file changes the tensor."""
        path = tmp_path / f"a.{'safetensors' if kind == 'safetensors' else 'pth'}"
        marker = torch.full((1024,), 1.5)
        if kind == "safetensors":
            write_tensors(path, {"w": marker})
        else:
            torch.save({"w": marker}, path, _use_new_zipfile_serialization=kind == "zip")
        before = resident()
        tensor = read_tensors(path)["w"]
        assert resident() - before < 50_000_000
        if kind == "zip":
            place = path.read_bytes().index(struct.pack("<f", 1.5) * 1024)
            with path.open("r+b") as file:
                file.seek(place)
                file.write(struct.pack("<f", 2.5))
            assert tensor[0].item() == 2.5

    def test_writing_into_a_read_tensor_leaves_the_file(self, tmp_path):
        torch.save({"w": torch.ones(4)}, tmp_path / "a.pth")
        read_tensors(tmp_path / "a.pth")["w"].fill_(7.0)
        assert read_tensors(tmp_path / "a.pth")["w"].tolist() == [1, 1, 1, 1]


def resident() -> int:
    """Bytes of this process in memory, where the system tells."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


class Block(nn.Module):
    """A residual block with OpenAI's names, and the mask that OpenAI keeps as a plain attribute."""

    def __init__(self, width: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 2)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width)))
        self.attn_mask = torch.zeros(3, 3)

    def forward(self, x):
        return x + self.mlp(self.ln_1(x).half()).float() + self.attn_mask.sum()


class Tower(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width) for _ in range(2)))

    def forward(self, x):
        return self.resblocks(x)


class Visual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.proj = nn.Parameter(torch.randn(width, 6).half())
        self.conv1 = nn.Conv2d(3, width, 4, 4, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.transformer = Tower(width)

    def forward(self, x):
        return self.transformer(self.bn1(self.conv1(x)).flatten(2).mean(2) + self.class_embedding).half() @ self.proj


class ArchivedCLIP(nn.Module):
    """What matters of OpenAI's archives: names, three int64 scalars, float16 weights beside float32 norms."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(5, width))
        self.text_projection = nn.Parameter(torch.randn(width, 6).half())
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))
        for name, number in (("input_resolution", 8), ("context_length", 5), ("vocab_size", 11)):
            self.register_buffer(name, torch.tensor(number))
        self.visual = Visual(width)
        self.transformer = Tower(width)
        self.token_embedding = nn.Embedding(11, width)
        self.ln_final = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.MultiheadAttention)):
                module.half()
        self.visual.conv1.float()

    def forward(self, image, ids):
        x = self.token_embedding(ids) + self.positional_embedding
        return self.visual(image), self.ln_final(self.transformer(x)).half() @ self.text_projection


@pytest.fixture(scope="module", params=["script", "trace"])
def archive(request, tmp_path_factory):
    """A genuine TorchScript archive and the module in it. torch.jit is used here only, to write it."""
    model = ArchivedCLIP().eval()
    inputs = (torch.randn(1, 3, 8, 8), torch.randint(0, 11, (1, 5)))
    jitted = torch.jit.trace(model, inputs) if request.param == "trace" else torch.jit.script(model)
    path = tmp_path_factory.mktemp("archive") / "ViT-tiny.pt"
    torch.jit.save(jitted, path)
    return path, model


class TestTorchScript:
    def test_state_dict_of_an_archive(self, archive):
        path, model = archive
        read = read_tensors(path)
        assert read.kind == "torchscript"
        wanted = torch.jit.load(path).state_dict()
        assert_same(read, wanted)
        assert_same(dict(sorted(read.items())), dict(sorted(model.state_dict().items())))
        assert list(read)[:6] == [
            "positional_embedding",
            "text_projection",
            "logit_scale",
            "input_resolution",
            "context_length",
            "vocab_size",
        ]
        assert read["vocab_size"].dtype == torch.int64 and read["text_projection"].dtype == torch.float16
        assert read["visual.bn1.num_batches_tracked"].dtype == torch.int64
        assert not any("attn_mask" in name for name in read)  # an attribute, neither parameter nor buffer

    def test_without_its_code_every_tensor_counts(self, archive, tmp_path):
        path, model = archive
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "bare.pt", "w") as new:
            for name in old.namelist():
                if "/code/" not in name:
                    new.writestr(name, old.read(name))
        read = read_tensors(tmp_path / "bare.pt")
        assert set(read) >= set(model.state_dict())

    def test_code_in_an_archive_is_refused(self, archive, tmp_path):
        path, _ = archive
        flag = tmp_path / "ran"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "evil.pt", "w") as new:
            for name in old.namelist():
                data = pickle.dumps(Exploit(flag), 2) if name.endswith("/data.pkl") else old.read(name)
                new.writestr(name, data)
        refuses(tmp_path / "evil.pt", "posix.system" if os.name == "posix" else "nt.system")
        assert not flag.exists()


class Exploit:
    """A pickle that creates a file when Python's own reader opens it."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"echo run > {self.flag}",)


class Unknown(dict):
    """A class that no reader should import."""


class TestCode:
    @pytest.mark.parametrize("legacy", [False, True])
    def test_torch_save_with_an_exploit(self, tmp_path, legacy):
        flag = tmp_path / "ran"
        value = {"model": {"w": torch.ones(2)}, "extra": Exploit(flag)}
        torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        message = refuses(tmp_path / "a.pt", "system", "pickled code", "was not loaded")
        assert not flag.exists() and "Refused" not in message

    @pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
    def test_plain_pickles(self, tmp_path, protocol):
        flag = tmp_path / "ran"
        (tmp_path / "a.bin").write_bytes(pickle.dumps(Exploit(flag), protocol))
        refuses(tmp_path / "a.bin", "system")
        assert not flag.exists()

    @pytest.mark.parametrize(
        "program, named",
        [
            (b"(S'echo'\nios\nsystem\n.", "os.system"),  # INST
            (b"(cos\nsystem\nS'echo'\no.", "os.system"),  # OBJ
            (b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R.", "builtins.eval"),
            (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.", "os.system"),  # STACK_GLOBAL
            (b"\x80\x02\x82\x01.", "EXT1"),  # the extension registry
            (b"\x80\x02cbuiltins\ngetattr\nctorch\nload\n\x86R.", "builtins.getattr, torch.load"),
            (b"\x80\x02ctorch.hub\nload\n)R0cos\nsystem\n)R", "torch.hub.load, os.system"),  # and cut short
            (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93}\x92.", "builtins.eval"),
        ],
    )
    def test_every_way_to_call(self, tmp_path, program, named):
        (tmp_path / "a.pt").write_bytes(program)
        refuses(tmp_path / "a.pt", named)

    def test_a_whole_pickled_model_says_what_to_ask_for(self, tmp_path):
        torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "a.pt")
        refuses(tmp_path / "a.pt", "torch.nn.modules.container.Sequential", "state dict alone")

    def test_setting_attributes_of_allowed_functions_changes_nothing(self, tmp_path):
        program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__X\x01\x00\x00\x00xsb."
        (tmp_path / "a.pt").write_bytes(program)
        refuses(tmp_path / "a.pt")
        torch.save({"w": torch.ones(2)}, tmp_path / "b.pt")
        assert read_tensors(tmp_path / "b.pt")["w"].tolist() == [1, 1]

    @pytest.mark.parametrize(
        "program",
        [
            b"\x80\x02r\xff\xff\xff\xffN.",  # a memo place far away, with nothing to put there
            b"\x80\x02N" + b"r\xff\xff\xff\xff" + b".",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # a text longer than the file
            b"\x80\x02" + b"(" * 200_000 + b".",
            b"\x80\x02)" + b"\x85" * 200_000 + b"}q\x00.",
            b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns.",  # a deeply nested key
            b"\x80\x02" + b"\x8a\xff" + b"\xff" * 10 + b".",
            b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
        ],
    )
    def test_hostile_shapes_of_pickles_end_in_an_error(self, tmp_path, program):
        (tmp_path / "a.pt").write_bytes(program)
        refuses(tmp_path / "a.pt")

    def test_argparse_namespace_becomes_a_plain_dictionary(self, tmp_path):
        args = argparse.Namespace(
            model="lavt", window12=True, device=torch.device("cuda"), sizes=(1, 2), dtype=torch.half
        )
        torch.save({"model": {"w": torch.ones(2)}, "args": args, "epoch": 39}, tmp_path / "a.pth")
        read = read_tensors(tmp_path / "a.pth")
        assert read.extras["args"] == {
            "model": "lavt",
            "window12": True,
            "device": "cuda",
            "sizes": (1, 2),
            "dtype": "torch.float16",
        }
        assert type(read.extras["args"]) is dict and read.extras["epoch"] == 39

    def test_another_class_is_not_a_namespace(self, tmp_path):
        torch.save({"model": {"w": torch.ones(2)}, "args": Unknown(a=1)}, tmp_path / "a.pth")
        refuses(tmp_path / "a.pth", "test_files.Unknown")

    def test_numpy_scalars_are_numbers(self, tmp_path):
        extras = {"iou": np.float64(0.7273), "epoch": np.int64(39), "best": np.float32(0.5), "flag": np.bool_(True)}
        torch.save({"model": {"w": torch.ones(2)}, **extras}, tmp_path / "a.pth")
        read = read_tensors(tmp_path / "a.pth").extras
        assert read == {"iou": 0.7273, "epoch": 39, "best": 0.5, "flag": True}


class TestLayouts:
    def test_lavt(self, tmp_path):
        model, bert = (
            {f"backbone.{i}": torch.randn(2) for i in range(4)},
            {f"encoder.{i}": torch.randn(2) for i in range(3)},
        )
        optimizer = {"state": {0: {"exp_avg": torch.ones(2), "step": 7}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
        value = {
            "model": model,
            "bert_model": bert,
            "optimizer": optimizer,
            "epoch": 39,
            "args": argparse.Namespace(a=1),
        }
        torch.save({**value, "lr_scheduler": {"base_lrs": [5e-5], "lr_lambdas": [None]}}, tmp_path / "refcoco.pth")
        read = read_tensors(tmp_path / "refcoco.pth")
        assert_same(read, {**model, **{f"bert_model.{name}": tensor for name, tensor in bert.items()}})
        assert_same(read_tensors(tmp_path / "refcoco.pth", part="model"), model)
        assert_same(read.parts["bert_model"], bert)
        assert set(read.parts) == {"model", "bert_model"}
        assert set(read.extras) == {"optimizer", "epoch", "args", "lr_scheduler"}
        assert read.extras["optimizer"]["param_groups"] == [{"lr": 1e-4, "params": [0]}]
        assert_same(read_tensors(tmp_path / "refcoco.pth", part="bert_model"), bert)

    @pytest.mark.parametrize("name", ["state_dict", "model", "teacher", "net", "anything"])
    def test_one_nested_dictionary(self, tmp_path, name):
        inner = {"w": torch.ones(2), "b": torch.zeros(1)}
        torch.save({name: inner, "loss": torch.tensor(0.3)}, tmp_path / "a.pth")
        read = read_tensors(tmp_path / "a.pth")
        assert_same(read, inner)
        assert read.parts[""]["loss"].item() == pytest.approx(0.3)

    def test_the_teacher_is_taken_before_the_student(self, tmp_path):
        torch.save({"student": {"w": torch.zeros(1)}, "teacher": {"w": torch.ones(1)}}, tmp_path / "a.pth")
        assert read_tensors(tmp_path / "a.pth")["w"].item() == 1
        assert read_tensors(tmp_path / "a.pth", part="student")["w"].item() == 0

    def test_several_unnamed_ones_must_be_told(self, tmp_path):
        torch.save({"encoder": {"w": torch.ones(1)}, "decoder": {"w": torch.ones(1)}}, tmp_path / "a.pth")
        refuses(tmp_path / "a.pth", "several", "'encoder', 'decoder'")
        with pytest.raises(UserError, match="no part 'x'"):
            read_tensors(tmp_path / "a.pth", part="x")

    @pytest.mark.parametrize("value", [[torch.ones(1)], torch.ones(2), {"epoch": 1}, {}, 5, None])
    def test_no_state_dict(self, tmp_path, value):
        torch.save(value, tmp_path / "a.pth")
        refuses(tmp_path / "a.pth")

    def test_transformers_shards_and_settings(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
        )
        model = transformers.ViTForImageClassification(config)
        model.save_pretrained(tmp_path / "one")
        model.save_pretrained(tmp_path / "many", max_shard_size="20KB")
        assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
        for path in (tmp_path / "one", tmp_path / "many", tmp_path / "many" / "model.safetensors.index.json"):
            read = read_tensors(path)
            one = read_tensors(tmp_path / "one" / "model.safetensors")
            assert_same(dict(sorted(read.items())), dict(sorted(one.items())))
            assert read.extras["config"]["model_type"] == "vit"

        shard = sorted((tmp_path / "many").glob("*.safetensors"))[1]
        content = shard.read_bytes()
        shard.unlink()
        with pytest.raises(UserError, match=f"lacks 1 of .* {shard.name}"):
            read_tensors(tmp_path / "many")
        shard.write_bytes(content[:-100])
        with pytest.raises(UserError, match="cut short"):
            read_tensors(tmp_path / "many")

    def test_an_index_cannot_leave_its_folder(self, tmp_path):
        write_tensors(tmp_path / "secret.safetensors", {"w": torch.ones(1)})
        (tmp_path / "in").mkdir()
        for name in ("../secret.safetensors", str(tmp_path / "secret.safetensors"), "..\\secret.safetensors"):
            (tmp_path / "in" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
            with pytest.raises(UserError, match="outside its own folder"):
                read_tensors(tmp_path / "in")

    def test_folders(self, tmp_path):
        with pytest.raises(UserError, match="no checkpoint"):
            read_tensors(tmp_path)
        write_tensors(tmp_path / "a.pth", {"w": torch.ones(1)})
        assert read_tensors(tmp_path)["w"].item() == 1
        write_tensors(tmp_path / "b.pth", {"w": torch.ones(1)})
        with pytest.raises(UserError, match=r"several checkpoints \(a.pth, b.pth\)"):
            read_tensors(tmp_path)

    def test_a_config_beside_a_file_of_another_name_is_not_its_own(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "clip"}')
        write_tensors(tmp_path / "download.pth", {"w": torch.ones(1)})
        assert read_tensors(tmp_path / "download.pth").extras == {}
        write_tensors(tmp_path / "pytorch_model.bin", {"w": torch.ones(1)})
        assert read_tensors(tmp_path / "pytorch_model.bin").extras == {"config": {"model_type": "clip"}}
        (tmp_path / "config.json").write_text('{"model_type": ')
        with pytest.raises(UserError, match="not valid JSON"):
            read_tensors(tmp_path / "pytorch_model.bin")


class TestWriting:
    @pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
    def test_round_trip_with_shared_and_sliced_tensors(self, tmp_path, suffix):
        tensors = some_tensors()
        whole = torch.randn(1000, 4)
        tensors |= {"slice": whole[:2], "other": whole[2:4], "parameter": nn.Parameter(torch.ones(2))}
        write_tensors(tmp_path / f"a{suffix}", tensors)
        read = read_tensors(tmp_path / f"a{suffix}")
        assert_same(dict(sorted(read.items())), dict(sorted(tensors.items())))
        assert (tmp_path / f"a{suffix}").stat().st_size < 12_000
        if suffix != ".safetensors":
            assert torch.load(tmp_path / f"a{suffix}", weights_only=True).keys() == tensors.keys()

    def test_reading_and_writing_the_same_file(self, tmp_path):
        write_tensors(tmp_path / "a.pth", {"w": torch.arange(5.0)})
        write_tensors(tmp_path / "a.pth", {"w": read_tensors(tmp_path / "a.pth")["w"] * 2})
        write_tensors(tmp_path / "a.pth", read_tensors(tmp_path / "a.pth"))
        assert read_tensors(tmp_path / "a.pth")["w"].tolist() == [0, 2, 4, 6, 8]

    def test_refusals_leave_nothing(self, tmp_path):
        for name, metadata in (("a.npz", None), ("a", None), ("a.pth", {"x": "y"})):
            with pytest.raises(UserError):
                write_tensors(tmp_path / name, {"w": torch.ones(1)}, metadata)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_a_full_disk(self, tmp_path, suffix, monkeypatch):
        """The writer fails half-way: the old file stays, the new one vanishes, one sentence says why."""
        write_tensors(tmp_path / f"a{suffix}", {"w": torch.ones(1)})

        def full(value, path, *options):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files, "save_aligned", full)
        monkeypatch.setattr(files.torch, "save", full)
        with pytest.raises(UserError, match="cannot write .*No space left on device.*Free some space"):
            write_tensors(tmp_path / f"a{suffix}", {"w": torch.zeros(1)})
        assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]
        monkeypatch.undo()
        assert read_tensors(tmp_path / f"a{suffix}")["w"].item() == 1
