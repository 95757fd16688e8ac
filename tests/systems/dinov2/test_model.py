"""What DINOv2 computes beside its features, and what it refuses."""

import pytest
import torch

from checkpoints_convert.proof.compare import difference
from minimodels.dinov2 import DINOv2, to_grid
from minimodels.errors import UserError
from tests.systems.dinov2.small import KINDS, pictures, small


@pytest.mark.parametrize("kind", KINDS)
def test_features_by_name(kind):
    model, image = small(**KINDS[kind]), pictures(2, 12, 28)
    with torch.no_grad():
        features = model.encode(image)
        assert difference(model(image), features.class_token) <= 1e-12
        assert difference(model.patch_features(image), features.prenorm[:, 1 + model.num_registers :]) <= 1e-12
        first, last = model.intermediate(image, [2, 0], norm=False)  # ascending, whatever the list says
        assert difference(last, features.prenorm) <= 1e-12
        assert difference(first, model.blocks[0](model.embed(image))) <= 1e-12
        assert difference(model.split(model.intermediate(image)[0])[2], features.patches) <= 1e-12
    assert features.patches.shape == (2, 3 * 7, 24)
    assert to_grid(features.patches, (3, 7)).shape == (2, 24, 3, 7)
    assert torch.equal(to_grid(features.patches, (3, 7))[:, :, 1, 2], features.patches[:, 9])


def test_intermediate_stops_early_and_knows_its_blocks():
    model, ran = small(), []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda module, given, output, number=number: ran.append(number))
    model.intermediate(pictures(1, 8, 8), [0, 1])
    assert ran == [0, 1]
    for layers in (0, 4, [], [3], [-1]):
        with pytest.raises(UserError, match="has 3 blocks, numbered 0 to 2"):
            model.intermediate(pictures(1, 8, 8), layers)


def test_masked_patches_are_the_mask_token_and_keep_their_positions():
    model, image = small(**KINDS["registers"]), pictures(2, 8, 12)
    masked = torch.tensor([[True, False, False, True, False, False], [False] * 6])
    x, plain = model.embed(image, masked), model.embed(image)
    assert difference(x[1], plain[1]) <= 1e-12
    assert difference(x[0, 5], model.mask_token + model.positions((2, 3))[1]) <= 1e-12
    assert difference(x[0, 6], plain[0, 6]) <= 1e-12
    other = image.clone()
    other[0, :, :4, :4] += 1  # what lies under the mask cannot matter
    assert difference(model.embed(other, masked), x) <= 1e-12


def test_gradients_by_finite_differences_at_another_size():
    """No library resizes as the official code does, so nothing else can judge the gradient of the table there."""
    model = small(depth=1, embed_dim=6, num_heads=1, mlp_dim=4)
    image = pictures(1, 8, 12)

    def patches(pos):
        return torch.func.functional_call(model, {"pos": pos}, (image,))

    assert torch.autograd.gradcheck(patches, model.pos.detach().clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_positions_are_resized_in_float32_at_least(dtype):
    model = small().to(dtype)
    wide = small()
    wide.load_state_dict(model.state_dict())
    found, exact = model.positions((2, 3)).double(), wide.positions((2, 3))
    rounded_once = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6  # half a step of this format, and float32's rounding
    assert ((found - exact).abs() <= rounded_once).all()


def test_what_it_refuses():
    with pytest.raises(UserError, match="image_size 20 is not a multiple of patch_size 14"):
        DINOv2(image_size=20)
    with pytest.raises(UserError, match="30 x 20 pixels cannot be cut into patches of 4 x 4"):
        small().encode(pictures(1, 30, 20))
