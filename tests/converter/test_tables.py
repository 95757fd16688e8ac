"""The table language: every operation alone on hand-numbered tensors and back, names with numbers, every mistake."""

import re

import pytest
import torch

from checkpoints_convert import SYSTEMS, build
from checkpoints_convert.proof.references import all_references
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables.rules import (
    FIRST,
    FIRST_FIRST,
    FLATTEN_KERNEL,
    KEEP,
    STACK_ROWS,
    TRANSPOSE,
    Operation,
    Table,
)
from checkpoints_convert.tables.system import count_blocks
from minimodels.errors import UserError


def numbered(*shape, start=0):
    """0, 1, 2 ... in a tensor of that shape."""
    return (torch.arange(torch.Size(shape).numel()) + start).reshape(shape)


OPERATIONS = {
    "keep": (KEEP, [numbered(2, 3)], [[0, 1, 2], [3, 4, 5]]),
    "stack rows": (
        STACK_ROWS,
        [numbered(1, 2), numbered(1, 2, start=10), numbered(1, 2, start=20)],
        [[0, 1], [10, 11], [20, 21]],
    ),
    "stack biases": (STACK_ROWS, [numbered(2), numbered(2, start=10)], [0, 1, 10, 11]),
    "flatten kernel": (FLATTEN_KERNEL, [numbered(2, 3, 1, 1)], [[0, 1, 2], [3, 4, 5]]),
    "flatten kernel of 2 x 2": (FLATTEN_KERNEL, [numbered(1, 3, 2, 2)], [list(range(12))]),
    "transpose": (TRANSPOSE, [numbered(2, 3)], [[0, 3], [1, 4], [2, 5]]),
    "first": (FIRST, [numbered(1, 2, 2)], [[0, 1], [2, 3]]),
    "first of the first": (FIRST_FIRST, [numbered(1, 1, 3)], [0, 1, 2]),
}


@pytest.mark.parametrize("operation, parts, expected", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_operation_and_its_inverse(operation, parts, expected):
    whole = operation.forward(parts)
    assert whole.tolist() == expected
    back = operation.inverse(whole, len(parts))
    assert [part.tolist() for part in back] == [part.tolist() for part in parts]


def test_every_operation_in_use_is_tested():
    """Whatever a table uses is in the list above, or in the file of the system that brought it."""
    here = {operation.name for operation, _, _ in OPERATIONS.values()}
    used = {
        rule.operation.name
        for name in ("vit", "clip")
        for form in SYSTEMS[name].formats.values()
        for rule in form.table.rules
    }
    assert used <= here and all(isinstance(operation, Operation) for operation, _, _ in OPERATIONS.values())


TABLE = Table(
    [
        ("layers.{i}.{q,k,v}.weight", "blocks.{i}.qkv.weight", STACK_ROWS),
        ("layers.{i}.parts.{j}.bias", "blocks.{i}.list.{j}.bias"),
        ("patch.weight", "patch.weight", FLATTEN_KERNEL),
        ("layers.{i}.counter", None, "a counter"),
    ]
)


def checkpoint():
    tensors = {f"layers.{i}.{letter}.weight": numbered(2, 3, start=100 * i) for i in (0, 10) for letter in "vqk"}
    tensors["layers.10.parts.3.bias"] = numbered(4)
    tensors["patch.weight"] = numbered(2, 3, 2, 2)
    tensors["layers.0.counter"] = torch.tensor(7)
    return tensors


def test_names_with_numbers_and_alternatives():
    """{i} of several digits, two numbers in one name, alternatives in the row's order and not in the file's."""
    tensors = checkpoint()
    tensors["layers.0.q.weight"] = numbered(2, 3, start=50)
    converted = TABLE.convert(tensors)
    assert not converted.problems
    assert set(converted.tensors) == {
        "blocks.0.qkv.weight",
        "blocks.10.qkv.weight",
        "blocks.10.list.3.bias",
        "patch.weight",
    }
    assert converted.tensors["blocks.0.qkv.weight"][:2].tolist() == [[50, 51, 52], [53, 54, 55]]  # q first
    assert converted.dropped == {"layers.0.counter": "a counter"}
    assert converted.sources["blocks.10.qkv.weight"][0] == [f"layers.10.{letter}.weight" for letter in "qkv"]
    assert TABLE.knows(list(tensors)) == len(tensors)


def test_export_is_the_inverse():
    tensors = checkpoint()
    back = TABLE.export(TABLE.convert(tensors).tensors)
    del tensors["layers.0.counter"]
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    with pytest.raises(KeyError, match="no row of the table writes blocks.0.other"):
        TABLE.export({"blocks.0.other": torch.zeros(1)})


def test_renamed_tensors_are_not_copied():
    tensors = checkpoint()
    converted = TABLE.convert(tensors).tensors
    assert converted["blocks.10.list.3.bias"].data_ptr() == tensors["layers.10.parts.3.bias"].data_ptr()
    assert converted["patch.weight"].data_ptr() == tensors["patch.weight"].data_ptr()


WRONG = {
    "an unknown name": (lambda t: t.update({"layers.0.z.weight": numbered(2)}), "unknown name.*layers.0.z.weight"),
    "a near miss": (lambda t: t.update({"layers.x.q.weight": numbered(2)}), "unknown name.*layers.x.q.weight"),
    "a longer name": (lambda t: t.update({"my.layers.0.q.weight": numbered(2)}), "unknown name.*my.layers.0.q.weight"),
    "one of three missing": (lambda t: t.pop("layers.10.k.weight"), "blocks.10.qkv.weight is made of 3 tensors"),
    "parts that do not fit": (lambda t: t.update({"layers.0.k.weight": numbered(2, 4)}), "cannot stack rows"),
}


@pytest.mark.parametrize("spoil, message", WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_placed_is_listed(spoil, message):
    tensors = checkpoint()
    spoil(tensors)
    (problem,) = TABLE.convert(tensors).problems
    assert re.search(message, problem)


def test_one_of_ours_given_twice():
    table = Table([("a.weight", "w"), ("b.weight", "w")])
    (problem,) = table.convert({"a.weight": numbered(1), "b.weight": numbered(1)}).problems
    assert "w is given twice" in problem


# ---------------------------------------------------------------- whole tables

OWN_REFERENCES = [reference for reference in all_references() if reference.system in ("vit", "clip")]


@pytest.mark.parametrize("reference", all_references(), ids=lambda r: f"{r.model}, {r.library}")
def test_one_error_lists_everything(reference):
    """Unknown, missing and misshapen tensors are told in one message."""
    tensors = redraw_all(reference.build(**reference.tiny)).state_dict()
    form = SYSTEMS[reference.system].formats[reference.format].table
    ours = form.convert(tensors)
    renamed = [name for name, (sources, kind) in ours.sources.items() if kind == "keep" and name.endswith("bias")]
    missing, misshapen = (ours.sources[name][0][0] for name in (renamed[0], renamed[-1]))
    spoiled = {name: tensor for name, tensor in tensors.items() if name != missing}
    spoiled[misshapen] = torch.zeros(3, 5, 7)
    spoiled["adapter.weight"] = torch.zeros(2, 2)
    with pytest.raises(UserError) as error:
        build(spoiled, reference.system, format=reference.format, **reference.told(reference.tiny))
    text = str(error.value)
    assert "unknown name in the checkpoint: adapter.weight (2, 2)" in text
    assert f"missing: our {renamed[0]}" in text
    assert f"{misshapen} gives (3, 5, 7), our {renamed[-1]} is" in text


def test_every_row_of_every_table_is_met(tmp_path):
    """No row is a leftover: each reference pattern takes a name of some checkpoint that the libraries make."""
    from transformers import ViTConfig, ViTForImageClassification, ViTForMaskedImageModeling, ViTModel

    from checkpoints_convert.reading.files import read_tensors

    timm, transformers = (r for r in OWN_REFERENCES if r.system == "vit")
    config = transformers.build(**transformers.tiny).config
    assert isinstance(config, ViTConfig)
    names = {name for reference in OWN_REFERENCES for name in reference.build(**reference.tiny).state_dict()}
    names |= set(timm.build(**{**timm.tiny, "global_pool": "avg"}).state_dict())  # fc_norm
    for number, cls in enumerate((ViTForImageClassification, ViTModel, ViTForMaskedImageModeling)):
        model = cls(config, use_mask_token=True) if cls is ViTModel else cls(config)
        model.save_pretrained(tmp_path / str(number))
        names |= set(model.state_dict()) | set(read_tensors(tmp_path / str(number)).tensors)
    names |= {"input_resolution", "context_length", "vocab_size"}  # OpenAI's archives
    names |= {f"{tower}_model.embeddings.position_ids" for tower in ("vision", "text")}  # transformers before 4.31
    # transformers' ViTForImageClassification of older versions had the pooler too.
    names |= {f"vit.pooler.dense.{part}" for part in ("weight", "bias")}
    for system in ("vit", "clip"):
        for name, form in SYSTEMS[system].formats.items():
            for rule in form.table.rules:
                for pattern in rule.references:
                    regex = re.compile(re.sub(r"\\\{\w+\\\}", "[0-9]+", re.escape(pattern)))
                    assert any(regex.fullmatch(known) for known in names), f"{system}, {name}: nothing is {pattern}"


def test_blocks_are_counted():
    assert count_blocks({"blocks.0.a": 1, "blocks.0.b": 1, "blocks.11.a": 1, "other.3.a": 1}, "blocks.") == 2


# ---------------------------------------------------------------- tensors that an operation cannot take


WRONG_TENSORS = {
    "a class token twice": ("timm", "cls_token", torch.zeros(1, 2, 24), "cannot first of the first"),
    "a batch of two class tokens": ("timm", "cls_token", torch.zeros(2, 1, 24), "cannot first of the first"),
    "a class token that is a number": ("timm", "cls_token", torch.zeros(()), "cannot first of the first"),
    "two tables of positions": ("timm", "pos_embed", torch.zeros(2, 7, 24), "cannot first of a batch of one"),
    "no positions": ("timm", "pos_embed", torch.zeros(0, 7, 24), "cannot first of a batch of one"),
    "patches of 12 colours": ("timm", "patch_embed.proj.weight", torch.zeros(24, 12, 4, 4), "square patches"),
    "oblong patches": ("timm", "patch_embed.proj.weight", torch.zeros(24, 3, 2, 32), "square patches"),
    "flat patches": ("timm", "patch_embed.proj.weight", torch.zeros(24, 192), "square patches"),
    "queries of another type": (
        "transformers",
        "vit.encoder.layer.0.attention.attention.query.weight",
        torch.zeros(24, 24, dtype=torch.int8),
        "cannot stack rows .types torch.int8, torch.float32, torch.float32, expected one",
    ),
}


@pytest.mark.parametrize("form, name, tensor, told", WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_a_tensor_that_an_operation_cannot_take(form, name, tensor, told):
    tensors = {name: tensor}
    if form == "transformers":
        tensors |= {name.replace("query", other): torch.zeros(24, 24) for other in ("key", "value")}
    converted = SYSTEMS["vit"].formats[form].table.convert(tensors)
    assert len(converted.problems) == 1 and re.search(told, converted.problems[0]) and not converted.tensors


def test_what_an_operation_makes_can_be_written():
    """A view with its numbers apart is refused by safetensors; a flattened kernel has its size exactly."""
    for operation, parts, _ in OPERATIONS.values():
        whole = operation.forward(parts)
        assert whole.is_contiguous() and all(part.is_contiguous() for part in operation.inverse(whole, len(parts)))
    for side in range(1, 65):
        kernel = torch.zeros(1, 3, side, side)
        assert FLATTEN_KERNEL.inverse(FLATTEN_KERNEL.forward([kernel]), 1)[0].shape == kernel.shape


def test_a_name_is_known_to_its_end():
    """Numbers at the end of a row are letters of it: lambda1 is not lambda12, in both directions."""
    table = SYSTEMS["dinov2"].formats["transformers"].table
    right, wrong = "encoder.layer.0.layer_scale1.lambda1", "encoder.layer.0.layer_scale1.lambda12"
    assert table.knows([right, wrong]) == 1
    converted = table.convert({right: torch.ones(2), wrong: torch.ones(2)})
    assert converted.unknown == [wrong] and list(converted.tensors) == ["blocks.0.scale1"]
    with pytest.raises(KeyError, match="no row of the table writes blocks.0.scale12"):
        table._find_ours("blocks.0.scale12")


def test_an_operation_that_reaches_beyond_a_tensor():
    third = Operation("third", lambda parts: parts[0][2], lambda whole, _: [whole])
    converted = Table([("a", "b", third)]).convert({"a": torch.ones(2)})
    assert len(converted.problems) == 1 and converted.problems[0].startswith("a (2,): cannot third (index 2 is out")
