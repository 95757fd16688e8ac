"""How far a model's answers in float16 or bfloat16 lie from what the same weights give in float64."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

HALVES = [torch.float16, torch.bfloat16]
# In steps of the format at the size of the largest answer. An answer has gone through some ten roundings, most of them
# averaged out: most models, and the libraries' own, are 0.3 to 3 steps off. SAM's masks, sums over channels of both
# signs, are up to 15 off, LAVT's logits, behind norms over maps that hardly vary, up to 11.
STEPS = 32


def to_dtype(inputs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The same inputs; floating tensors in this format."""
    floating = {name: x for name, x in inputs.items() if isinstance(x, Tensor) and x.is_floating_point()}
    return {**inputs, **{name: x.to(dtype) for name, x in floating.items()}}


def rounding(
    model: nn.Module, run: Callable[..., Mapping[str, Tensor]], inputs: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, float]:
    """For each output the largest error, in steps of the format; every output must have this format."""
    half = copy.deepcopy(model).to(dtype)
    given = to_dtype(inputs, dtype)
    with torch.no_grad():
        found = run(half, **given)
        exact = run(copy.deepcopy(half).double(), **to_dtype(given, torch.float64))
    assert {name: output.dtype for name, output in found.items()} == dict.fromkeys(found, dtype)
    assert all(output.isfinite().all() for output in found.values())
    step = torch.finfo(dtype).eps
    return {
        name: float((found[name].double() - expected).abs().max() / expected.abs().max() / step)
        for name, expected in exact.items()
    }


def assert_close_in_half(
    model: nn.Module, run: Callable[..., Mapping[str, Tensor]], inputs: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """No output is further off than `STEPS`."""
    steps = rounding(model, run, inputs, dtype)
    assert all(off <= STEPS for off in steps.values()), steps
