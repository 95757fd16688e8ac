"""Tensors that hold NaN or infinity: no training ends so."""

from collections.abc import Mapping

import torch
from torch import Tensor

from minimodels.errors import UserError


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Sums carry every NaN and infinity, and read each number once. Tensors without numbers (meta device) pass.

    Raises:
        UserError: some tensor holds NaN or infinity.
    """
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
        and not tensor.is_meta
        and not torch.isfinite(tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32)))
    ]
    if bad:
        raise UserError(
            f"{what}: {len(bad)} of {len(tensors)} tensors hold NaN or infinite values, first {', '.join(bad[:3])}; "
            "the file is damaged, or its training diverged. Fetch it again."
        )
