"""CLIPSeg's prompts, layers and gradients, and what it refuses."""

import pytest
import torch

from checkpoints_convert.proof.verify import difference, redraw_all
from minimodels.clip import CLIP
from minimodels.clipseg import CLIPSeg, check_prompt, refined_head
from minimodels.errors import UserError
from tests.systems.clipseg.small import SMALL_CLIP, pictures, small, words

# ---------------------------------------------------------------- one image, many prompts


def test_one_image_many_prompts_and_all_pairs():
    model = small()
    images, prompts = pictures(3, 40), torch.randn(5, 20, dtype=torch.float64)
    with torch.no_grad():
        alone = torch.stack(
            [torch.stack([model(i[None], p[None, None])[0, 0] for p in prompts]) for i in images]
        )  # (3, 5, H, W)
        diagonal = torch.stack([alone[i, i] for i in range(3)])[:, None]
        cases = {
            "one of its own for each image": (model(images, prompts[:3, None]), diagonal),
            "three images, one prompt": (model(images, prompts[None, :1]), alone[:, :1]),
            "one image, one prompt": (model(images[:1], prompts[None, :1]), alone[:1, :1]),
            "all pairs": (model(images, prompts[None]), alone),
            "all pairs, own prompts": (model(images, prompts[None].expand(3, -1, -1)), alone),
            "all pairs of one image": (model(images[:1], prompts[None]), alone[:1]),
        }
        own = torch.randn(3, 2, 20, dtype=torch.float64)
        each = torch.cat([model(image[None], p[None]) for image, p in zip(images, own)])
        cases["prompts of its own for each image"] = (model(images, own), each)
    for name, (found, expected) in cases.items():
        assert found.shape == expected.shape, name
        assert difference(found, expected) <= 1e-12, name


def test_encoded_once_serves_many_prompts_and_stops_early():
    model = small(extract_layers=(0, 2))
    ran = []
    for number, block in enumerate(model.clip.image_tower.blocks):
        block.register_forward_hook(lambda module, given, output, number=number: ran.append(number))
    activations = model.encode(pictures(1, 32))
    assert ran == [0, 1, 2] and len(activations) == 2  # the fourth block is not run
    model.decode(activations, torch.randn(1, 4, 20, dtype=torch.float64))
    model.decode(activations, torch.randn(1, 1, 20, dtype=torch.float64))
    assert ran == [0, 1, 2]
    model.encode_image(pictures(1, 32))
    assert ran == [0, 1, 2, 0, 1, 2, 3]


def test_activations_are_the_blocks_outputs():
    model, seen = small(), {}
    for number, block in enumerate(model.clip.image_tower.blocks):
        block.register_forward_hook(lambda module, given, output, number=number: seen.__setitem__(number, output))
    activations = model.encode(pictures(2, 48))
    for layer, activation in zip((0, 1, 3), activations, strict=True):
        assert torch.equal(activation, seen[layer])


@pytest.mark.parametrize("kernels", [None, (4, 2), (2, 4), (8, 1)])
def test_any_patch_size_gives_a_mask_of_the_pictures_size(kernels):
    model = small(refined_kernels=kernels)
    for side in (8, 32, 56):
        assert model(pictures(2, side), torch.zeros(2, 1, 20, dtype=torch.float64)).shape == (2, 1, side, side)


def test_the_decoder_trains_on_a_frozen_clip():
    """As lessons/train/clipseg/trainer.py does: CLIP's numbers into CLIPSeg's constructor, its weights into `.clip`."""
    pretrained = redraw_all(CLIP(**SMALL_CLIP)).double()
    model = small(seed=1)
    model.clip.load_state_dict(pretrained.state_dict())
    model.clip.requires_grad_(False)
    image = pictures(2, 32)
    assert difference(model.encode_image(image), pretrained.encode_image(image)) <= 1e-12
    model(image, model.encode_text(words(2))[None]).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == name.startswith("decoder."), name


def test_finite_differences_agree_with_the_gradient_of_a_prompt():
    model = small()
    activations = [activation.detach() for activation in model.encode(pictures(1, 16))]
    prompt = torch.randn(1, 2, 20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: model.decode(activations, p)[..., ::5, ::5], prompt)


# ---------------------------------------------------------------- bad input


def test_prompts_that_do_not_fit_the_images():
    """Asked of the check itself: in the tests the annotations of `decode` would speak first."""
    for images, prompt, message in [
        (2, torch.zeros(3, 5, 20), "2 images and prompts for 3"),
        (1, torch.zeros(3, 5, 20), "1 images and prompts for 3"),
        (2, torch.zeros(2, 20), r"\(2, 20\), expected \(images, prompts, 20\).*prompts\[None\]"),
        (2, torch.zeros(2, 1, 19), r"\(2, 1, 19\), expected \(images, prompts, 20\)"),
        (2, torch.zeros(2, 0, 20), r"empty prompt: its shape is \(2, 0, 20\)"),
        (2, torch.zeros(20), r"\(20,\), expected"),
    ]:
        with pytest.raises(UserError, match=message):
            check_prompt(prompt, images, 20)


@pytest.mark.parametrize("size", [(32, 40), (3, 3), (0, 0), (8, 16)])
def test_pictures_that_are_not_square_or_too_small(size):
    with pytest.raises(UserError, match=f"square pictures of 8, 16, 24 .* here came {size[0]} x {size[1]}"):
        small().encode(torch.zeros(1, 3, *size, dtype=torch.float64))


def test_pictures_that_are_no_multiple_of_the_patch():
    with pytest.raises(UserError, match="30 x 30 pixels cannot be cut into patches of 8 x 8"):
        small().encode(pictures(1, 30))


@pytest.mark.parametrize("layers", [(), (3, 1), (1, 1), (-1, 2), (0, 4)])
def test_layers_that_the_tower_does_not_have(layers):
    with pytest.raises(UserError, match="ascending block numbers from 0 to 3"):
        CLIPSeg(CLIP(**SMALL_CLIP), extract_layers=layers)


def test_refined_kernels_that_do_not_fit_the_patch():
    with pytest.raises(UserError, match="2 and 2 enlarge 4 times, a patch has 8 pixels"):
        CLIPSeg(CLIP(**SMALL_CLIP), extract_layers=(0, 1, 3), refined_kernels=(2, 2))


@pytest.mark.parametrize("kernels", [(4,), (2, 2, 2), ()])
def test_the_refined_head_enlarges_twice(kernels):
    with pytest.raises(UserError, match="refined_kernels, expected two"):
        refined_head(12, 8, kernels)
