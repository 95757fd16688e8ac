"""LAVT's gradients: no library has it, so finite differences judge."""

import pytest
import torch

from checkpoints_convert.proof.verify import redraw_all
from minimodels.lavt import PWAM, LanguageGate
from tests.systems.lavt import golden
from tests.systems.lavt.small import given, small


@pytest.mark.parity
def test_gradients_against_finite_differences():
    """Of the picture, the words and every parameter, along random directions, in float64."""
    assert golden.gradients() <= 1e-6
    model = small()
    image, ids, mask = given(tokens=5)
    model(image, ids, mask).sum().backward()
    assert {name for name, tensor in model.named_parameters() if tensor.grad is None} == set(golden.UNUSED)


def test_a_wrong_gradient_is_noticed():
    with pytest.MonkeyPatch.context() as patch:
        forward = LanguageGate.forward
        patch.setattr(LanguageGate, "forward", lambda self, v, f: forward(self, v, f.detach()))
        assert golden.gradients(part="gates") > 1e-3


def test_gradients_of_pwam_by_torch():
    module = redraw_all(PWAM(6, 5, 2), seed=0).double()
    visual = torch.randn(1, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    words = torch.randn(1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, w: module(v, w, torch.tensor([[1, 1, 1, 0]])), (visual, words))
