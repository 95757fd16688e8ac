"""From tensors to a model: what is listed when they do not fit, which numbers are taken, and in which dtype."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from checkpoints_convert import build, export
from checkpoints_convert.building import SHOWN, build_model, compare_shapes, report
from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.tables import SYSTEMS
from checkpoints_convert.tables.rules import Converted
from checkpoints_convert.tables.system import detect
from minimodels.errors import UserError
from minimodels.stored.finite import check_finite

VIT = reference_named("ViT", "timm")


class Model(nn.Module):
    """One weight and one counter."""

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(2, 3, bias=False)
        self.register_buffer("steps", torch.tensor(0))


def converted(**tensors):
    """As a table gives them, each from a tensor of its own name with "their_" in front."""
    ours = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return Converted(ours, sources={name: ([f"their_{name}"], "keep") for name in ours})


class TestShapes:
    def test_all_that_is_wrong_is_listed(self):
        found = compare_shapes(converted(w__weight=torch.ones(3, 3), surplus=torch.ones(1)), Model())
        assert found == [
            "missing: our steps () is filled by nothing in the checkpoint",
            "wrong shape: their_w.weight gives (3, 3), our w.weight is (3, 2)",
            "no place for their_surplus (our surplus)",
        ]

    def test_nothing_is_wrong(self):
        assert compare_shapes(converted(w__weight=torch.ones(3, 2), steps=torch.tensor(4)), Model()) == []

    def test_surplus_of_a_real_model_is_listed(self):
        """A norm behind the pooling, in a file whose head is read in front of it."""
        tensors = twins(VIT).theirs.state_dict()
        with pytest.raises(UserError, match=r"no place for blocks.0.attn.qkv.bias \(our blocks.0.attn.qkv.bias\)"):
            spoiled = SimpleNamespace(**{**vars(SYSTEMS["vit"]), "architecture": without_bias})
            build_model(tensors, spoiled, "timm", VIT.told(VIT.tiny))


def without_bias(tensors, told):
    name, arguments = SYSTEMS["vit"].architecture(tensors, told)
    return name, {**arguments, "qkv_bias": False}


class TestReport:
    def test_the_first_ones_whole_and_the_rest_counted(self):
        problems = [f"problem {number}" for number in range(SHOWN)]
        assert report("head", problems) == "head: " + "; ".join(problems)
        assert report("head", [*problems, "one", "two"]).endswith("; problem 11 ... and 2 more")


class TestNumbers:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_large_sums_of_finite_numbers_are_finite(self, dtype):
        """A sum of halves in halves overflows at 65,504: these weights are fine."""
        check_finite({"a": torch.full((4, 300), 3e2, dtype=dtype), "b": -torch.ones(9, dtype=dtype)}, "x")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_one_that_is_none(self, bad, dtype):
        tensors = {"fine": torch.ones(3), "steps": torch.tensor(3), "bad": torch.ones(7, dtype=dtype)}
        tensors["bad"][4] = bad
        with pytest.raises(UserError, match="the file: 1 of 3 tensors hold NaN or infinite values, first bad;"):
            check_finite(tensors, "the file")

    def test_infinities_of_both_signs(self):
        with pytest.raises(UserError, match="first a, b, c;"):
            bad = torch.tensor([float("inf"), -float("inf")])
            check_finite(dict.fromkeys("abcd", bad), "x")

    def test_no_numbers_no_question(self):
        check_finite({"a": torch.empty(3, device="meta"), "empty": torch.ones(0), "whole": torch.ones(2).long()}, "x")

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
    @pytest.mark.parametrize("name", ["blocks.1.attn.qkv.weight", "pos_embed", "cls_token"])
    def test_what_is_learned_is_floating(self, dtype, name):
        """By what it becomes, whatever it is called."""
        tensors = dict(twins(VIT).theirs.state_dict())
        tensors[name] = tensors[name].to(dtype)
        with pytest.raises(UserError, match=f"1 of 44 tensors are not floating.*{name} is {str(dtype)[6:]};"):
            build(tensors, "vit", num_heads=3, image_size=(16, 24))

    def test_one_part_of_three(self):
        """int8 among q, k and v: joined to floats it would be promoted, and nobody would know."""
        reference = reference_named("ViT", "transformers")
        tensors = dict(twins(reference).theirs.state_dict())
        name = "vit.layers.1.attention.k_proj.weight"
        tensors[name] = tensors[name].to(torch.int8)
        with pytest.raises(UserError, match=f"{name} .*: cannot stack rows .*types .*torch.int8"):
            reference.convert(tensors, reference.tiny)


class TestDtype:
    def test_the_checkpoints_own_where_it_has_one(self):
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            tensors = {name: tensor.to(dtype) for name, tensor in twins(VIT).theirs.state_dict().items()}
            assert build(tensors, "vit", num_heads=3, image_size=(16, 24)).pos.dtype == dtype
            tensors["norm.bias"] = tensors["norm.bias"].to(torch.float32)
            assert build(tensors, "vit", num_heads=3, image_size=(16, 24)).pos.dtype == torch.float32

    def test_a_counter_keeps_its_own(self):
        reference = reference_named("CLIP ResNet", "open_clip")
        ours = twins(reference).ours
        half = build(export(ours, "open_clip"), "clip", dtype=torch.float16, vision_heads=8, text_heads=4)
        counters = {name: one.dtype for name, one in half.state_dict().items() if name.endswith("tracked")}
        assert counters and set(counters.values()) == {torch.int64}
        assert {one.dtype for one in half.parameters()} == {torch.float16}


class TestDetect:
    def test_half_of_the_names(self):
        """Half known is enough to say whose it is, and then what is wrong; less is another model."""
        known = list(twins(VIT).theirs.state_dict())
        tensors = {name: torch.ones(1) for name in known}
        strange = {f"strange.{number}.name": torch.ones(1) for number in range(len(known) + 1)}
        first = dict(list(strange.items())[: len(known)])
        assert detect({**tensors, **first}, SYSTEMS) == ("vit", "timm")
        with pytest.raises(UserError, match="belong to no model we know"):
            detect({**tensors, **strange}, SYSTEMS)
        with pytest.raises(UserError, match="no tensor at all"):
            detect({}, SYSTEMS)
