"""LAVT in float16 and bfloat16: no library has it, its own float64 judges."""

import pytest

from tests.systems.halves import HALVES, assert_close_in_half
from tests.systems.lavt.small import given, small


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("size", [(64, 64), (21, 30), (9, 1)])
def test_logits(size, dtype):
    """Of any size: the picture's own map of each stage, and what comes out."""
    image, ids, mask = given(height=size[0], width=size[1])

    def run(model, image):
        maps = model.maps(image, model.encode_text(ids, mask), mask)
        assert {x.dtype for x in maps.values()} == {dtype} or image.dtype != dtype
        return {name: maps[name] for name in ("V_1", "V_2", "V_3", "logits")}

    assert_close_in_half(small(), run, {"image": image}, dtype)
