"""Pictures of every height and width on a small grid: the library's answer, or an error that names the size."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
import torch

from checkpoints_convert.proof.compare import difference
from minimodels.errors import UserError

Run = Callable[[torch.Tensor], Any]


def picture(height: int, width: int) -> torch.Tensor:
    """Two of this size, in float64."""
    generator = torch.Generator().manual_seed(100 * height + width)
    return torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)


def assert_right_or_refused(
    run: Run,
    reference: Run | None,
    heights: Iterable[int],
    widths: Iterable[int],
    fits: Callable[[int, int], bool],
    *,
    tolerance: float = 1e-10,
) -> None:
    """Where a size `fits`, our answer is the reference's (finite, where there is none); elsewhere it is refused."""
    wrong, taken = [], 0
    for height, width in product(heights, widths):
        image = picture(height, width)
        with torch.no_grad():
            if not fits(height, width):
                with pytest.raises(UserError, match=rf"\b{height} x {width}\b"):
                    run(image)
                continue
            taken += 1
            found = run(image)
            if reference is None:
                assert found.isfinite().all()
            elif (off := difference(found, reference(image))) > tolerance:
                wrong.append((height, width, off))
    assert not wrong, wrong
    assert taken
