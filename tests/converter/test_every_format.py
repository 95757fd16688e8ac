"""A genuine file of every format of every system, through every command: seen whole, converted, proven, and back."""

import json

import pytest
import torch

from checkpoints_convert import SYSTEMS
from checkpoints_convert.__main__ import main
from checkpoints_convert.exporting import export_as
from checkpoints_convert.inspection import inspect
from checkpoints_convert.load import load, load_source
from checkpoints_convert.reading.files import read_tensors, write_tensors
from minimodels.errors import UserError
from tests.converter.genuine import genuine

GENUINE = genuine()


def test_no_format_is_left_out():
    """A format without a file here is one that no test has seen whole."""
    every = {f"{system}, {name}" for system in SYSTEMS for name in SYSTEMS[system].formats}
    assert every == GENUINE.keys()


def tell(told):
    """--tell for each value."""
    return [word for key, value in told.items() for word in ("--tell", f"{key}={json.dumps(value)}")]


def said(capfd, *words):
    """What a command prints; it must succeed."""
    code = main([str(word) for word in words])
    printed = capfd.readouterr()
    assert code == 0, printed.err
    return printed.out


@pytest.mark.parametrize("name", GENUINE)
def test_through_every_command(name, capfd, tmp_path):
    one = GENUINE[name]
    path, converted, back = tmp_path / "a.pth", tmp_path / "b.safetensors", tmp_path / "c.safetensors"
    write_tensors(path, one.tensors)
    shown = json.loads(said(capfd, "inspect", path, "--json", *tell(one.told)))
    assert shown["system"] == one.system and shown["problem"] == "" and shown["parameters"] > 0
    lines = [line for line in shown["lines"] if line["ours"] is not None]
    model = load(path, dtype=None, **one.told)
    assert {line["ours"] for line in lines} == {key for key in model.state_dict() if "num_batches" not in key} | {
        line["ours"] for line in lines if "num_batches" in line["ours"]
    }
    assert {one for line in shown["lines"] for one in line["theirs"]} == one.tensors.keys()
    for words in ((), ("--all",)):
        text = said(capfd, "inspect", path, *words, *tell(one.told))
        assert f"{shown['model']}(" in text and ("dropped" in text) == bool(one.dropped)
    said(capfd, "convert", path, converted, *tell(one.told))
    assert "our own names" in said(capfd, "inspect", converted)
    said(capfd, "export", converted, one.format, back)
    spelled = export_as(load(converted, dtype=None), one.format)
    assert read_tensors(back).keys() == spelled.tensors.keys()
    again = load_source(one.source(dict(read_tensors(back))) if spelled.format == one.format else read(back, one))
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


def read(path, one):
    """A file in another spelling of the same library."""
    from checkpoints_convert.load import open_source

    source = open_source(path)
    source.told |= one.told
    return source


# ---------------------------------------------------------------- spoiled in one tensor

KINDS = {
    "dropped": lambda tensor: None,
    "transposed": lambda tensor: tensor.mT if tensor.ndim > 1 else tensor.flip(0)[: len(tensor) // 2],
    "a scalar": lambda tensor: tensor.flatten()[0],
    "empty": lambda tensor: tensor.flatten()[:0],
    "no rows": lambda tensor: tensor[:0] if tensor.ndim else tensor.new_zeros(0),
    "an axis more": lambda tensor: tensor[None],
    "an axis less": lambda tensor: tensor.flatten(),
    "one row less": lambda tensor: tensor[:-1] if tensor.ndim else tensor.new_zeros(3),
    "one row more": lambda tensor: torch.cat([tensor, tensor[:1]]) if tensor.ndim else tensor.new_zeros(2, 2),
    "twice": lambda tensor: torch.cat([tensor, tensor]) if tensor.ndim else tensor.new_zeros(2),
    "whole numbers": lambda tensor: tensor.to(torch.int64),
    "truths": lambda tensor: tensor > 0,
    "bytes": lambda tensor: tensor.to(torch.int8),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "NaN": lambda tensor: torch.full_like(tensor, float("nan")),
    "infinite": lambda tensor: torch.full_like(tensor, -float("inf")),
    "numbers of zero size": lambda tensor: tensor.new_zeros(0, 2**40),
    "one number, seen large": lambda tensor: tensor.flatten()[:1].expand(2**20, 3),
}


def targets(one):
    """One tensor of each kind: names that differ in numbers alone count as one, and the first and the last block."""
    learned = [name for name, tensor in one.tensors.items() if name not in one.dropped and tensor.is_floating_point()]
    shapes = {}
    for name in learned:
        shapes.setdefault("".join(letter for letter in name if not letter.isdigit()), name)
    return list(shapes.values())


def judged(one, tensors):
    """A model, or the one line that says why not; inspect and the conversion say the same."""
    found = inspect(one.source(tensors))
    try:
        model = load_source(one.source(tensors))
    except UserError as error:
        assert type(error) is UserError, f"only the last net caught it: {error}"
        assert "\n" not in str(error) and 20 < len(str(error)) < 4000
        assert found.problem, "inspect finds nothing wrong with it"
        return None
    assert not found.problem
    return model


@pytest.mark.parametrize("name", GENUINE)
def test_one_tensor_spoiled(name):
    """Refused in one line, or a model that holds every number of the file: in each way, each time another tensor."""
    one = GENUINE[name]
    for number, kind in enumerate(KINDS):
        spoiled(one, kind, targets(one)[number :: len(KINDS)][:1])


@pytest.mark.slow
@pytest.mark.parametrize("name", GENUINE)
def test_every_tensor_spoiled(name):
    """The same of every tensor."""
    for kind in KINDS:
        spoiled(GENUINE[name], kind, targets(GENUINE[name]))


def spoiled(one, kind, names):
    """Try these tensors, one after the other."""
    right = load_source(one.source()).state_dict()
    for target in names:
        changed = KINDS[kind](one.tensors[target])
        tensors = {key: tensor for key, tensor in one.tensors.items() if key != target}
        tensors |= {} if changed is None else {target: changed}
        if (model := judged(one, tensors)) is not None:
            accepted(one, target, tensors, model, right)


def accepted(one, target, tensors, model, right):
    """A file that is not refused makes a model that holds every one of its numbers, at a place of its shape."""
    written = SYSTEMS[one.system].formats[one.format].table.convert(tensors).tensors
    for key, tensor in model.state_dict().items():
        assert tensor.dtype.is_floating_point == right[key].dtype.is_floating_point if key in right else True, target
        assert key not in written or torch.equal(tensor, written[key].to(tensor.dtype)), (target, key)


def test_a_block_renamed_or_left_out():
    """A gap among the blocks, a number too far, one block's tensors twice: one line each."""
    for one in GENUINE.values():
        block = next((name for name in one.tensors if ".1." in name and name not in one.dropped), None)
        if block is None:
            continue
        start = block[: block.index(".1.") + 1]
        gap = {name: tensor for name, tensor in one.tensors.items() if not name.startswith(f"{start}1.")}
        far = {name.replace(f"{start}1.", f"{start}9.", 1): tensor for name, tensor in one.tensors.items()}
        extra = {**one.tensors, "a.name.that.nobody.knows": torch.ones(3)}
        for tensors in (far, extra):
            assert judged(one, tensors) is None, (one.system, one.format, start)
        judged(one, gap)
