"""The golden runner: copied cases pass, a wrong number fails, a bad folder is told in one line, unseen cases run."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints_convert.proof.suite import reference_named
from minimodels.errors import UserError
from tests.golden import Case, fill, judge_one, read_case, run_case, thin
from tests.golden.__main__ import main

CASES = sorted(path.parent for path in (Path(__file__).parents[1] / "golden").glob("*/*/config.json"))
CLIP = Path(__file__).parents[1] / "golden" / "clip"


@pytest.mark.parity
@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_copied_cases(folder, device):
    with torch.no_grad():
        lines = run_case(read_case(folder), device)
    shown = [line for line in lines if line.ok is None and line.name.removeprefix("out.").startswith("f32")]
    assert all(line.ok or line in shown for line in lines), "\n" + "\n".join(map(str, lines))
    assert len(lines) > len(shown)


@pytest.fixture
def copy(tmp_path):
    """A case to spoil."""

    def make(name):
        return Path(shutil.copytree(CLIP / name, tmp_path / name))

    return make


def rewrite(folder, file, change):
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(change(content) or content))


def change_array(folder, name, change):
    arrays = dict(np.load(folder / "case.npz"))
    arrays[name] = change(arrays[name])
    np.savez(folder / "case.npz", **arrays)


def nudge(array, by=1e-8):
    array = array.copy()
    array.flat[7] += by
    return array


def test_a_wrong_number_fails(copy, capsys):
    folder = copy("tiny_vit")
    change_array(folder, "out.visual.block1", nudge)
    assert main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert "DIFF  out.visual.block1" in out and "OK    out.visual.block0" in out and "11 of 12 right" in out


def test_the_cases_own_tolerance_counts(copy):
    folder = copy("tiny_vit")
    change_array(folder, "out.visual.block1", nudge)
    rewrite(folder, "config.json", lambda config: config.update(tolerance=1e-7))
    assert main([str(folder)]) == 0


def test_float32_arrays_are_shown_and_not_judged(copy, capsys):
    folder = copy("tiny_vit")
    change_array(folder, "f32.image_features", lambda array: nudge(array, 3.0))
    assert main([str(folder)]) == 0
    assert "--    f32.image_features" in capsys.readouterr().out


def test_whole_numbers_are_exact(copy):
    folder = copy("preprocess")
    change_array(folder, "out.uint8_2", lambda array: nudge(array, 1))
    assert main([str(folder)]) == 1


def test_other_weights_fail(copy):
    """Another salt draws other weights: the official numbers are then not met."""
    folder = copy("tiny_rn")
    rewrite(folder, "config.json", lambda config: config.update(salt=1))
    assert main([str(folder)]) == 1


def test_an_array_that_nothing_computes_fails(copy, capsys):
    folder = copy("tiny_vit")
    arrays = dict(np.load(folder / "case.npz"))
    np.savez(folder / "case.npz", **arrays, **{"out.visual.block9": np.zeros(3)})
    assert main([str(folder)]) == 1
    assert "nothing here computes it" in capsys.readouterr().out


def test_a_name_too_much_or_too_few_fails(copy, capsys):
    for change in (lambda keys: keys.pop(40) and None, lambda keys: keys.append(["visual.extra", [3], "float32"])):
        folder = copy("ViT-B-32")
        rewrite(folder, "keys.json", change)
        assert main([str(folder)]) == 1
        shutil.rmtree(folder)
    folder = copy("ViT-B-32")
    rewrite(folder, "config.json", lambda config: config.update(parameters=151_277_314))
    assert main([str(folder)]) == 1
    assert "official 151,277,314" in capsys.readouterr().out


def test_a_wrong_id_fails(copy):
    folder = copy("tokenizer")

    def change(cases):
        cases[4]["ids"][2] += 1

    rewrite(folder, "cases.json", change)
    assert main([str(folder)]) == 1


BAD = {
    "no folder": (lambda folder: shutil.rmtree(folder), "is not a folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
    "config is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "config is a list": (lambda folder: (folder / "config.json").write_text("[]"), "names no system"),
    "no system": (lambda f: rewrite(f, "config.json", lambda c: c.pop("system") and None), "names no system"),
    "a path for a system": (lambda f: rewrite(f, "config.json", lambda c: c.update(system="../x")), "names no system"),
    "unknown system": (lambda f: rewrite(f, "config.json", lambda c: c.update(system="gpt")), "runs the system 'gpt'"),
    "our own module for a system": (
        lambda folder: rewrite(folder, "config.json", lambda config: config.update(system="fill")),
        "runs the system 'fill'",
    ),
    "unknown kind": (lambda f: rewrite(f, "config.json", lambda c: c.update(kind="film")), "has no kind 'film'"),
    "no arrays": (lambda folder: (folder / "case.npz").unlink(), "has no array in.image"),
    "half an archive": (
        lambda folder: (folder / "case.npz").write_bytes((folder / "case.npz").read_bytes()[:9000]),
        "case.npz cannot be read",
    ),
    "no keys": (lambda folder: (folder / "keys.json").unlink(), "keys.json cannot be read"),
    "keys of another kind": (lambda f: (f / "keys.json").write_text('[["a", [3], "float99"]]'), "must hold [[name"),
    "keys too few": (lambda f: rewrite(f, "keys.json", lambda keys: keys[:4]), "the sizes cannot be read without"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD.keys())
def test_bad_folders_are_told(copy, capsys, spoil, message):
    folder = copy("tiny_vit")
    spoil(folder)
    assert main([str(folder), str(CLIP / "tokenizer")]) == 2
    streams = capsys.readouterr()
    assert message in streams.err and streams.err.count("\n") == 1 and "Traceback" not in streams.err
    assert "7 of 7 right" in streams.out  # the others still run


def test_no_device(capsys):
    assert main([str(CLIP / "tiny_vit"), "--device", "gpu"]) == 2
    assert "choose cpu" in capsys.readouterr().err


@pytest.mark.parity
@pytest.mark.parametrize("resnet", [False, True], ids=["ViT", "ResNet"])
def test_a_case_never_seen_runs(resnet, tmp_path):
    """A case of other sizes, made here with open_clip, which has OpenAI's names: other heads, thinned arrays."""
    reference = reference_named("CLIP ResNet" if resnet else "CLIP ViT", "open_clip")
    model = fill.fill_(reference.build(**reference.tiny).double().eval(), salt=5)
    image, ids = reference.inputs(
        {"image_size": 64 if resnet else 24, "context_length": 9, "vocab_size": 60}, torch.Generator(), 2
    ).values()
    name = "visual.layer2" if resnet else "visual.block1"
    block = model.visual.layer2 if resnet else model.visual.transformer.resblocks[1]
    kept = []
    block.register_forward_hook(lambda module, given, output: kept.append(output))
    with torch.no_grad():
        arrays = {"image_features": model.encode_image(image.double()), "text_features": model.encode_text(ids)}
        arrays["logits_per_image"] = model.get_logits(image.double(), ids)[0]
    arrays[name] = kept[0][:, ::3] if resnet else kept[0][..., ::5]
    config = {
        "system": "clip",
        "kind": "model",
        "salt": 5,
        "heads": {"vision": 8 if resnet else 3, "text": 4},
        "subsampled": {f"out.{name}": "every 3rd channel only" if resnet else "every 5th channel only"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "keys.json").write_text(json.dumps(fill.keys_of(model)))
    inputs = {"in.image": image.numpy(), "in.text": ids.int().numpy()}
    np.savez(tmp_path / "case.npz", **inputs, **{f"out.{key}": value.numpy() for key, value in arrays.items()})
    assert main([str(tmp_path)]) == 0


def test_thin():
    numbers = torch.arange(2 * 10 * 6).reshape(2, 10, 6)
    assert torch.equal(thin(numbers, (2, 4, 6), "every 3rd channel only"), numbers[:, ::3])
    assert torch.equal(thin(numbers, (2, 5, 3), "every 2nd row and column"), numbers[:, ::2, ::2])
    assert torch.equal(thin(numbers, (2, 10, 2), "first 2 channels only"), numbers[:, :, :2])
    assert torch.equal(thin(numbers, (2, 4, 6), "thinned"), numbers[:, ::3])
    assert thin(numbers, (2, 4, 6), "") is numbers  # nothing told: the shapes then differ, and that is said


def test_judging():
    one = torch.ones(3).double()
    assert judge_one("out.a", one, one + 3e-10, 1e-10, True).ok is False  # |a - b| <= tolerance (1 + |b|)
    assert judge_one("out.a", one, one + 1e-10, 1e-10, True).ok is True
    assert judge_one("out.a", one * float("nan"), one, 1e-10, True).ok is False
    assert judge_one("out.a", one[:2], one, 1e-10, True).ok is False
    assert judge_one("f32.a", one, one + 1, 1e-10, False).ok is None
    assert judge_one("out.a", one > 0, one > 0, 1e-10, True).ok is True
    assert judge_one("out.a", one > 0, one > 1, 1e-10, True).ok is False


def test_an_empty_case_proves_nothing(tmp_path):
    with pytest.raises(UserError, match="nothing to judge"):
        run_case(Case(tmp_path, {"system": "clip", "kind": "preprocess", "cases": []}))


# ---------------------------------------------------------------- cases of the same kinds under other names

FIRST = {}
for _folder in CASES:
    _kind = json.loads((_folder / "config.json").read_text())
    if (_folder / "case.npz").exists():
        FIRST.setdefault((_kind["system"], _kind["kind"]), _folder)
RENAMED = {
    ("matcher", "sampler"): {"few": "seven", "many": "a.crowd", "two": "few"},
    ("sam", "model"): {"mask": "scribble", "points": "mask", "none": "nothing"},
    ("sam", "relpos"): {"0": "wide", "3": "0", "5": "last.one"},
    ("sam", "amg_helpers"): {"crops.a": "crops.left", "crops.b": "crops.a"},
    ("clipseg", "visual_prompt"): {"call.bg_50": "call.dim", "call.none": "call.bg_50"},
}


def renamed(folder, names):
    """The case with the sets of its arrays under other names, in its arrays and in its config alike."""
    lasts = {old.rpartition(".")[2]: new.rpartition(".")[2] if "." in old else new for old, new in names.items()}
    pattern = re.compile(rf"(in|out)\.({'|'.join(map(re.escape, names))})(?=\.|$)")
    arrays = dict(np.load(folder / "case.npz"))
    new = {pattern.sub(lambda found: f"{found[1]}.{names[found[2]]}", name): array for name, array in arrays.items()}
    assert new.keys() != arrays.keys() and len(new) == len(arrays)
    np.savez(folder / "case.npz", **new)

    def keys(value):
        if not isinstance(value, dict):
            return value
        first = {key: key.partition(".") for key in value}
        return {lasts.get(head, head) + dot + rest: keys(value[key]) for key, (head, dot, rest) in first.items()}

    rewrite(folder, "config.json", keys)


def spoil(folder, name):
    """The first number of an array changed by what no tolerance allows."""

    def change(array):
        array = array.copy()
        array.flat[0] = ~array.flat[0] if array.dtype == bool else array.flat[0] + 1
        return array

    change_array(folder, name, change)


@pytest.mark.parametrize("kind", FIRST, ids=" ".join)
def test_every_kind_under_other_names(kind, tmp_path, device):
    """Renamed sets and arrays that nobody asks for run; one number changed in a renamed or in any other array fails."""
    folder = Path(shutil.copytree(FIRST[kind], tmp_path / "copy"))
    if kind in RENAMED:
        renamed(folder, RENAMED[kind])
    arrays = dict(np.load(folder / "case.npz"))
    np.savez(folder / "case.npz", **arrays, **{"in.nobody.asks": np.zeros(3), "f32.nobody.computes": np.zeros(3)})
    assert main([str(folder), "--device", str(device)]) == 0
    judged = [name for name in arrays if name.startswith("out.") and "f32" not in name and arrays[name].size]
    changed = sorted({judged[0], judged[len(judged) // 2]})
    if kind in RENAMED:
        sets = tuple(f"out.{name}" for name in RENAMED[kind].values())
        changed = [next(name for name in judged if name.startswith(sets))]
    for name in changed:
        other = Path(shutil.copytree(folder, tmp_path / name))
        spoil(other, name)
        assert main([str(other), "--device", str(device)]) == 1, name


def test_other_sets_other_counts(tmp_path, capsys):
    """A sampler's case with one set of its own, other numbers of centres, no combinations; a set lost is told."""
    folder = Path(shutil.copytree(FIRST["matcher", "sampler"], tmp_path / "copy"))
    arrays = {name: array for name, array in np.load(folder / "case.npz").items() if ".many." in name}
    arrays = {name.replace(".many.", ".only."): array for name, array in arrays.items() if ".k8." not in name}
    np.savez(folder / "case.npz", **arrays)

    def change(config):
        ranges = {name.replace("many.", "only."): told for name, told in config["sampler"].items() if "many." in name}
        return {**config, "sampler": ranges, "num_centers": [4]}

    rewrite(folder, "config.json", change)
    assert main([str(folder)]) == 0
    rewrite(folder, "config.json", lambda config: config["sampler"].update({"lost.range0": {}}))
    assert main([str(folder)]) == 2
    assert "lost" in capsys.readouterr().err


def test_other_parts_of_an_array(tmp_path):
    """Every fourth row and column where the kind's own cases store every second: the config says so."""
    folder = Path(shutil.copytree(FIRST["matcher", "match"], tmp_path / "copy"))
    change_array(folder, "out.S", lambda array: array[::2, ::2])
    assert main([str(folder)]) == 1
    rewrite(folder, "config.json", lambda config: config.update(subsampled={"out.S": "every 4th row and column"}))
    assert main([str(folder)]) == 0
