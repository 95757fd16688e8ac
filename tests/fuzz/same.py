"""Are two sets of tensors, or two answers, the same? NaN equals NaN: a file may hold what it likes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tests.fuzz.cases import Wrong

TOLERANCE = 1e-10


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Shape, type and every bit."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b)] if a.numel() else [a, b]
    return torch.equal(*bits)


def assert_same_tensors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], what: str) -> None:
    """The same names with the same bits."""
    if ours.keys() != theirs.keys():
        raise Wrong(f"{what}, other names: {sorted(ours.keys() ^ theirs.keys())[:4]}")
    for name, tensor in ours.items():
        if not same_bits(tensor, theirs[name]):
            raise Wrong(f"{what}, other numbers: {name} {tuple(tensor.shape)} {tensor.dtype}")


def assert_same_answers(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], what: str) -> None:
    """The same outputs to round-off in float64."""
    if ours.keys() != theirs.keys():
        raise Wrong(f"{what}, other outputs: {sorted(ours)} {sorted(theirs)}")
    for name, a in ours.items():
        b = theirs[name]
        if a.shape != b.shape:
            raise Wrong(f"{what}, another shape: {name} {tuple(a.shape)} beside {tuple(b.shape)}")
        off = ((a - b).abs() - TOLERANCE * b.abs()).max().item() if a.numel() else 0.0
        if not (off <= TOLERANCE) and not (a.isnan().any() or b.isnan().any()):
            raise Wrong(f"{what}, another answer: {name} off by {off:.2g}")
        if a.isnan().any() != b.isnan().any():
            raise Wrong(f"{what}, another answer: {name} is NaN on one side")
