"""`python -m checkpoints_convert` as a person uses it: what it shows and writes, and one line for everything wrong."""

import json
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from checkpoints_convert import build, export
from checkpoints_convert.__main__ import EXAMPLES, main
from checkpoints_convert.fetching import hub
from checkpoints_convert.load import load
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.reading.files import read_tensors, write_tensors
from checkpoints_convert.tables import entries
from minimodels.errors import UserError


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A folder as transformers writes it: a tiny CLIP with every parameter redrawn."""
    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    vision = {**tower, "image_size": 16, "patch_size": 8}
    text = {**tower, "vocab_size": 70, "max_position_embeddings": 7, "eos_token_id": 69}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)
    model = transformers.CLIPModel(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    folder = tmp_path_factory.mktemp("official")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def openai_tensors(official):
    """The same weights under OpenAI's names, with its three scalars and its mixture of float16 and float32."""
    tensors = export(load(official), "openai")
    tensors |= {
        name: torch.tensor(size) for name, size in (("input_resolution", 16), ("context_length", 7), ("vocab_size", 70))
    }
    half = (
        "conv1.weight",
        "in_proj_weight",
        "out_proj.weight",
        "c_fc.weight",
        "c_proj.weight",
        "proj",
        "text_projection",
    )
    return {name: tensor.half() if name.endswith(half) else tensor for name, tensor in tensors.items()}


class Holder(nn.Module):
    """A module tree with given names and tensors."""

    def forward(self) -> None:
        return None


def archive_of(tensors, path: Path) -> None:
    """A genuine TorchScript archive with these names and tensors."""
    root = Holder()
    for name, tensor in tensors.items():
        *modules, last = name.split(".")
        at: nn.Module = root
        for module in modules:
            if not hasattr(at, module):
                at.add_module(module, Holder())
            at = getattr(at, module)
        if tensor.is_floating_point():
            at.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
        else:
            at.register_buffer(last, tensor)
    torch.jit.save(torch.jit.script(root), path)


def run(capfd, *arguments) -> str:
    """What the command prints; it must succeed."""
    code = main([str(argument) for argument in arguments])
    printed = capfd.readouterr()
    assert code == 0, printed.err
    return printed.out


def fails(capfd, *arguments, words=()) -> str:
    """The one line of a command that must fail; nothing else on stderr."""
    code = main([str(argument) for argument in arguments])
    message = capfd.readouterr().err
    assert code == 2 and message.startswith("error: ") and message.count("\n") == 1, message
    for word in words:
        assert word in message, message
    return message


class TestList:
    def test_table(self, capfd, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        lines = run(capfd, "list").splitlines()
        assert len(lines) == 1 + len(entries())
        line = next(line for line in lines if line.startswith("openai/clip-vit-base-patch32 "))
        assert "605 MB" in line and "MIT" in line and " no " in line
        start = {line.index(entry.system + " ") for line, entry in zip(lines[1:], entries())}
        assert len(start) == 1  # aligned

    def test_which_hashes_are_known(self, capfd):
        """A column, a count of those without, and the same for a program."""
        assert main(["list"]) == 0
        printed = capfd.readouterr()
        place = printed.out.splitlines()[0].index("sha256")
        shown = [line[place : place + 3].strip() for line in printed.out.splitlines()[1:]]
        known = [entry.weights.sha256 is not None for entry in entries()]
        assert shown == ["yes" if one else "no" for one in known] and 0 < sum(known) < len(known)
        assert printed.err == (
            f"note: {len(known) - sum(known)} of {len(known)} have no known sha256; the first download's is recorded, "
            "and later ones are compared with it\n"
        )
        assert [entry["sha256_known"] for entry in json.loads(run(capfd, "list", "--json"))] == known
        assert main(["list", "ViT-B/32", "archive"]) == 0
        assert capfd.readouterr().err == ""

    def test_words_and_json(self, capfd):
        assert len(run(capfd, "list", "timm", "large", "augreg").splitlines()) == 2  # the heading and one
        entries = json.loads(run(capfd, "list", "vit-b/32", "archive", "--json"))
        assert [entry["name"] for entry in entries] == ["ViT-B/32"]
        assert entries[0]["files"][0]["sha256"].startswith("40d36571")
        fails(capfd, "list", "nonsense", words=["nonsense"])


class TestFetch:
    def test_offline(self, capfd, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        fails(capfd, "fetch", "RN50", words=["offline", "RN50.pt", "azureedge.net", str(tmp_path)])
        hub.by_hand(hub.find("RN50")).mkdir(parents=True)
        (hub.by_hand(hub.find("RN50")) / "RN50.pt").write_bytes(b"not it")
        fails(capfd, "fetch", "RN50", words=["sha256", "Remove it"])

    def test_a_typo(self, capfd):
        fails(capfd, "fetch", "openai/clip-vit-base-path32", words=["did you mean openai/clip-vit-base-patch32"])


class TestInspect:
    def test_a_folder_of_transformers(self, capfd, official):
        text = run(capfd, "inspect", official)
        assert "clip, transformers names" in text and "CLIP(embed_dim=20" in text
        assert "vision_model.encoder.layers.{i}.self_attn.{q,k,v}_proj.weight  (2 of them)" in text
        assert "image_tower.blocks.{i}.attn.qkv.weight" in text and "stack rows" in text
        parameters = sum(parameter.numel() for parameter in load(official).parameters())
        assert f"parameters {parameters:,}" in text

        every = run(capfd, "inspect", official, "--all")
        for name in read_tensors(official):
            short = name.replace("q_proj", "{q,k,v}_proj") if "q_proj" in name else name
            assert short in every or "k_proj" in name or "v_proj" in name, name

    def test_what_is_dropped_and_why(self, capfd, tmp_path, openai_tensors):
        archive_of(openai_tensors, tmp_path / "a.pt")
        text = run(capfd, "inspect", tmp_path / "a.pt")
        assert "torchscript" in text and "clip, openai names" in text
        dropped = text[text.index("dropped") :]
        assert "input_resolution" in dropped and "read from the shapes instead" in dropped
        found = json.loads(run(capfd, "inspect", tmp_path / "a.pt", "--json"))
        assert found["arguments"]["quick_gelu"] is True and found["problem"] == "" and found["kind"] == "torchscript"
        assert {line["ours"] for line in found["lines"]} >= {None, "logit_scale"}

    def test_a_converted_file(self, capfd, official, tmp_path):
        run(capfd, "convert", official, tmp_path / "a.safetensors")
        text = run(capfd, "inspect", tmp_path / "a.safetensors")
        assert "our own names" in text and "CLIP(" in text

    def test_an_unknown_model_is_shown_and_named(self, capfd, tmp_path):
        write_tensors(tmp_path / "a.pth", {"features.0.weight": torch.ones(2, 3), "classifier.6.bias": torch.ones(2)})
        assert main(["inspect", str(tmp_path / "a.pth")]) == 2
        printed = capfd.readouterr()
        assert "features.0.weight" in printed.out and "2 x 3" in printed.out
        assert printed.err.count("\n") == 1 and "belong to no model we know" in printed.err

    def test_parts(self, capfd, tmp_path, openai_tensors):
        torch.save({"model": openai_tensors, "ema": {"w": torch.ones(1)}, "epoch": 3}, tmp_path / "a.pth")
        text = run(capfd, "inspect", tmp_path / "a.pth")
        assert "model (" in text and "ema (1 tensors)" in text and "epoch" in text
        assert main(["inspect", str(tmp_path / "a.pth"), "--part", "ema"]) == 2
        capfd.readouterr()
        fails(capfd, "inspect", tmp_path / "a.pth", "--part", "none", words=["'model', 'ema'"])


class TestConvertAndExport:
    def test_round_trip(self, capfd, official, tmp_path):
        """transformers -> ours -> transformers: the same names and the same numbers."""
        out = run(capfd, "convert", official, tmp_path / "ours.safetensors")
        assert "CLIP with" in out and "float32" in out and "MB" in out
        out = run(capfd, "export", tmp_path / "ours.safetensors", "transformers", tmp_path / "theirs.safetensors")
        assert "in transformers names" in out
        before, after = read_tensors(official), read_tensors(tmp_path / "theirs.safetensors")
        assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
        transformers = pytest.importorskip("transformers")
        model = transformers.CLIPModel(transformers.CLIPConfig.from_pretrained(official))
        model.load_state_dict(dict(after), strict=True)

    def test_a_converted_file_answers_alike(self, capfd, official, tmp_path):
        run(capfd, "convert", official, tmp_path / "ours.safetensors")
        image, ids = torch.randn(2, 3, 16, 16).double(), torch.tensor([[68, 3, 69, 0, 0, 0, 0]])
        ours, theirs = (load(file).double() for file in (tmp_path / "ours.safetensors", official))
        assert difference(ours(image, ids), theirs(image, ids)) <= 1e-10

    def test_an_archive_and_dtypes(self, capfd, openai_tensors, tmp_path):
        archive_of(openai_tensors, tmp_path / "a.pt")
        run(capfd, "convert", tmp_path / "a.pt", tmp_path / "a.safetensors")
        assert {tensor.dtype for tensor in read_tensors(tmp_path / "a.safetensors").values()} == {torch.float32}
        run(capfd, "convert", tmp_path / "a.pt", tmp_path / "b.safetensors", "--dtype", "bfloat16")
        assert {tensor.dtype for tensor in read_tensors(tmp_path / "b.safetensors").values()} == {torch.bfloat16}
        run(capfd, "export", tmp_path / "a.pt", "open_clip", tmp_path / "c.pth")
        assert torch.load(tmp_path / "c.pth", weights_only=True)["visual.proj"].shape == (64, 20)

    def test_tell(self, capfd, openai_tensors, tmp_path):
        bare = {name: tensor for name, tensor in openai_tensors.items() if tensor.is_floating_point()}
        write_tensors(tmp_path / "a.pth", bare)
        convert, heads = ["convert", str(tmp_path / "a.pth")], ["--tell", "vision_heads=1", "--tell", "text_heads=1"]
        fails(capfd, *convert, tmp_path / "a.safetensors", words=["nothing", "tells vision_heads", "no width of 64"])
        assert main([*convert, str(tmp_path / "a.safetensors"), *heads]) == 0
        assert "note: " in capfd.readouterr().err  # QuickGELU was assumed, and that is said
        run(capfd, *convert, tmp_path / "b.safetensors", *heads, "--tell", "quick_gelu=false")
        about = [json.loads(read_tensors(tmp_path / f"{n}.safetensors").metadata["arguments"]) for n in "ab"]
        assert [numbers["quick_gelu"] for numbers in about] == [True, False]
        fails(
            capfd, "convert", tmp_path / "a.pth", tmp_path / "c.safetensors", "--tell", "colour=red", words=["colour"]
        )
        fails(capfd, "convert", tmp_path / "a.pth", tmp_path / "c.safetensors", "--tell", "colour", words=["KEY=VALUE"])

    def test_what_cannot_be_written(self, capfd, official, tmp_path):
        convert = ("convert", official)
        fails(capfd, *convert, tmp_path / "a.bin", words=["should end in .safetensors"])
        (tmp_path / "b.safetensors").mkdir()
        fails(capfd, *convert, tmp_path / "b.safetensors", words=["is a folder"])
        (tmp_path / "wall").write_text("")
        fails(capfd, *convert, tmp_path / "wall" / "a.safetensors", words=["cannot write", "another folder"])
        run(capfd, *convert, tmp_path / "a.safetensors")
        fails(capfd, "convert", tmp_path / "a.safetensors", tmp_path / "a.safetensors", words=["the source itself"])
        fails(capfd, "export", tmp_path / "a.safetensors", "tensorflow", tmp_path / "c.pth", words=["transformers"])
        fails(capfd, "export", tmp_path / "a.safetensors", "timm", tmp_path / "c.pth", words=["no format 'timm'"])
        assert not (tmp_path / "c.pth").exists()

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
    @pytest.mark.parametrize("command", [("convert",), ("export", "openai")])
    def test_a_read_only_folder(self, capfd, official, command):
        name, *target = command
        fails(
            capfd, name, official, *target, "/proc/self/a.safetensors", words=["cannot write /proc/self/a.safetensors"]
        )

    @pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
    def test_a_full_disk(self, official, tmp_path):
        """No file may grow beyond 20 kB in this process: what is half written goes away."""
        limited = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
            "from checkpoints_convert.__main__ import main; source, folder = sys.argv[1:]; "
            "codes = [main(['convert', source, folder + '/a.safetensors']), "
            "main(['export', source, 'openai', folder + '/a.pth'])]; sys.exit(codes != [2, 2])"
        )
        command = [sys.executable, "-c", limited, str(official), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == 2 and all(line.startswith("error: cannot write") for line in lines)
        assert list(tmp_path.iterdir()) == []


class Exploit:
    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"echo run > {self.flag}",)


def bad_checkpoint(kind: str, tensors: dict[str, torch.Tensor], path: Path) -> str:
    """Write the named kind of bad file; gives a word that its error must say."""
    name = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    value = OrderedDict(tensors)
    content, word = None, ""
    if kind == "code":
        value, word = {**value, "extra": Exploit(path.with_name("ran"))}, "system"
    elif kind == "another model":
        value, word = {f"layer{i}.conv.weight": torch.ones(2) for i in range(9)}, "no model we know"
    elif kind == "missing":
        del value[name]
        word = "image_tower.blocks.1.mlp.fc1.weight"
    elif kind == "unknown name":
        value, word = {**value, "visual.extra": torch.ones(2)}, "visual.extra"
    elif kind == "wrong shape":
        value, word = {**value, name: tensors[name][:-1]}, name
    elif kind in ("nan", "infinite"):
        broken = tensors[name].clone()
        broken.view(-1)[5] = float("nan" if kind == "nan" else "-inf")
        value, word = {**value, name: broken}, "NaN or infinite"
    elif kind == "integers":
        value, word = {key: tensor.to(torch.int8) for key, tensor in tensors.items()}, "int8"
    elif kind == "text":
        content, word = b"Not Found\n", "a text file"
    torch.save(value, path)
    if kind == "truncated":
        content, word = path.read_bytes()[:-2000], "damaged or cut short"
    if content is not None:
        path.write_bytes(content)
    return word


BAD = (
    "truncated",
    "code",
    "another model",
    "missing",
    "unknown name",
    "wrong shape",
    "nan",
    "infinite",
    "integers",
    "text",
)


class TestBadCheckpoints:
    @pytest.mark.parametrize("kind", BAD)
    def test_every_command(self, capfd, openai_tensors, tmp_path, kind):
        path = tmp_path / "bad.pt"
        word = bad_checkpoint(kind, openai_tensors, path)
        before = sorted(tmp_path.iterdir())
        for command in (
            ("inspect", path),
            ("convert", path, tmp_path / "out.safetensors"),
            ("export", path, "transformers", tmp_path / "out.pth"),
        ):
            fails(capfd, *command, words=[word])
        assert sorted(tmp_path.iterdir()) == before  # nothing written, nothing run

    def test_whichever_tensor_is_missing_or_misshapen(self, openai_tensors):
        """No order of reading turns a broken file into a traceback: one sentence, always."""
        for name, tensor in openai_tensors.items():
            if name in ("input_resolution", "context_length", "vocab_size") or "resblocks.1" in name:
                continue
            rest = {key: value for key, value in openai_tensors.items() if key != name}
            shapes = [(*tensor.shape, 2), (0,), (3, 5), ()]
            broken = [{**rest, name: tensor.new_zeros(shape)} for shape in shapes if shape != tuple(tensor.shape)]
            for tensors in [rest, *broken]:
                with pytest.raises(UserError) as caught:
                    build(tensors, "clip")
                assert "\n" not in str(caught.value)

    def test_as_a_process(self, openai_tensors, tmp_path):
        bad_checkpoint("code", openai_tensors, tmp_path / "bad.pt")
        command = [sys.executable, "-m", "checkpoints_convert", "inspect", str(tmp_path / "bad.pt")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1 and not (tmp_path / "ran").exists()


class TestVerify:
    def test_tiny_as_json(self, capfd):
        report = json.loads(run(capfd, "verify", "vit", "--json"))
        assert report["ok"] is True and report["comparisons"]

    def test_bad_names_and_devices(self, capfd):
        fails(capfd, "verify", "clipp", words=["clipp"])
        fails(capfd, "verify", "clip", "--device", "tpu", words=["tpu"])


class TestHelp:
    def test_every_command_teaches(self, capfd):
        for command in ([], ["list"], ["fetch"], ["inspect"], ["convert"], ["export"], ["verify"]):
            with pytest.raises(SystemExit) as caught:
                main([*command, "--help"])
            text = capfd.readouterr().out
            assert caught.value.code == 0 and "usage: python -m checkpoints_convert" in text
            assert "examples:" in text or command == ["list"]
        assert "python -m checkpoints_convert verify" in EXAMPLES

    @pytest.mark.parametrize("arguments", [[], ["nothing"], ["convert", "a.pt"], ["inspect"], ["list", "--colour"]])
    def test_misuse_is_one_line(self, capfd, arguments):
        fails(capfd, *arguments, words=["--help"])
