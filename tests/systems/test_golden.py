"""The golden runner: copied cases pass, a wrong number fails, a bad folder is told in one line, unseen cases run."""

import json
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
