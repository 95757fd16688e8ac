"""Picture prompts: each variant against a plain second way to say it, pictures of a batch alone, what is refused.

The official numbers are in the golden cases (test_golden.py); OpenCV itself is not needed anywhere.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage

from minimodels import picture_prompts as prompts
from minimodels.clipseg import CLIPSeg
from minimodels.errors import UserError
from tests.systems.clipseg.small import of_clip, small

MEAN = torch.tensor(prompts.IMAGENET_MEAN, dtype=torch.float64)[:, None, None]
STD = torch.tensor(prompts.IMAGENET_STD, dtype=torch.float64)[:, None, None]


def picture(height: int = 20, width: int = 20, seed: int = 0) -> torch.Tensor:
    shown = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (shown - MEAN) / STD


def blob(height: int = 20, width: int = 20, seed: int = 0) -> torch.Tensor:
    noise = ndimage.gaussian_filter(np.random.RandomState(seed).standard_normal((height, width)), 2)
    return torch.from_numpy(noise > np.quantile(noise, 0.7))


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-12) -> bool:
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance).all())


# ---------------------------------------------------------------- background


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3), (20, 9), (64, 48)])
def test_blur_equals_scipy(size, sigma):
    """OpenCV's default border is scipy's "mirror"; pictures smaller than the kernel are mirrored several times."""
    taps = np.exp(-(np.arange(-7, 8) ** 2) / (2 * sigma**2))
    expected = picture(*size).numpy()
    for axis in (1, 2):
        expected = ndimage.correlate1d(expected, taps / taps.sum(), axis=axis, mode="mirror")
    assert close(prompts.gaussian_blur(picture(*size), sigma), torch.from_numpy(expected))


def test_highlight_keeps_the_object_and_changes_the_rest():
    image, mask = picture(), blob()
    found = prompts.highlight(image, mask, blur=3.0, background=0.1)
    assert close(found[:, mask], image[:, mask])
    assert close(found[:, ~mask], 0.1 * prompts.gaussian_blur(image, 3.0)[:, ~mask])
    assert close(prompts.highlight(image, mask), image)
    assert not prompts.highlight(image, mask, background=0.0)[:, ~mask].any()  # the mean's grey, not black
    half = prompts.highlight(image, 0.5 * mask.double(), background=0.0)  # masks between 0 and 1 blend
    assert close(half[:, mask], 0.5 * image[:, mask])


# ---------------------------------------------------------------- crop


def test_box_around_a_mask():
    mask = torch.zeros(30, 50, dtype=torch.bool)
    mask[4:10, 20:40] = True
    assert prompts.mask_box(mask) == (20, 40, 4, 10)
    assert prompts.mask_box(mask, 0.1) == (18, 42, 3, 10)  # 4 - 0.6 and 10 + 0.6, towards zero
    assert prompts.mask_box(mask, 0.5) == (10, 50, 1, 13)
    assert prompts.mask_box(mask, 9.0) == (0, 50, 0, 30)  # each axis ends at its own border
    assert prompts.mask_box(mask.float()[:, 20:21]) == (0, 1, 4, 10)


def test_crop_pads_to_a_square_and_takes_the_nearest_pixel():
    image, mask = picture(12, 16), torch.zeros(12, 16)
    mask[2:5, 3:9] = 1
    square = torch.zeros(3, 6, 6, dtype=torch.float64)
    square[:, 1:4] = image[:, 2:5, 3:9]  # three rows missing: one above, two below
    assert torch.equal(prompts.crop_to_mask(image, mask, size=6, context=0.0), square)
    doubled = square.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(prompts.crop_to_mask(image, mask, size=12, context=0.0), doubled)
    assert torch.equal(prompts.crop_to_mask(image, mask, size=3, context=0.0), square[:, ::2, ::2])
    whole = prompts.crop_to_mask(picture(), torch.ones(20, 20), size=20)
    assert torch.equal(whole, picture())


# ---------------------------------------------------------------- colour and line


def test_tint():
    image, mask = picture(), blob()
    shown = prompts.tint(image, mask, background=0.25) * STD + MEAN
    grey = (torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None] * (image * STD + MEAN)).sum(0)
    assert close(shown[0][mask], grey[mask]) and close(shown[1][mask], 0.2 * grey[mask])
    assert close(shown[:, ~mask], 0.25 * grey[~mask].expand(3, -1))


def outline_of(mask: np.ndarray) -> np.ndarray:
    """Said otherwise: all pixels within 3 of the object's outermost pixels, holes filled."""
    solid = ndimage.binary_fill_holes(mask)
    border = solid & ~ndimage.binary_erosion(solid, border_value=0)
    return ndimage.distance_transform_edt(~border) <= 3


@pytest.mark.parametrize("seed", range(6))
def test_outline_runs_around_the_object(seed):
    image, mask = picture(40, 30), blob(40, 30, seed)
    line = torch.from_numpy(outline_of(mask.numpy()))
    shown = prompts.outline(image, mask, colour=(0.0, 1.0, 0.0)) * STD + MEAN
    assert close(shown[:, line], torch.tensor([[0.0], [1], [0]], dtype=torch.float64).expand(3, int(line.sum())))
    assert close(shown[:, ~line], (image * STD + MEAN)[:, ~line])


def test_outline_passes_over_holes():
    mask = torch.ones(41, 41, dtype=torch.bool)
    mask[15:26, 15:26] = False
    assert not prompts.contour_line(mask)[4:-4, 4:-4].any()


# ---------------------------------------------------------------- attention


def test_a_full_mask_changes_nothing():
    model, image = small(), torch.stack([picture(32, 32, seed) for seed in range(2)])
    ones = torch.ones(2, 32, 32)
    for encode in (prompts.encode_masked_class, prompts.encode_masked_patches):
        assert close(encode(model, image, ones), model.encode_image(image))
        assert close(encode(model, image, blob(32, 32).expand(2, -1, -1), layers=[]), model.encode_image(image))


def test_masked_scores_are_zero_before_the_softmax():
    """One block, so that the class token's answer can be written down: masked patches keep exp(0)."""
    model = small(clip=of_clip(vision_depth=1), extract_layers=(0,))
    tower, image = model.clip.image_tower, picture(32, 32)[None]
    mask = torch.zeros(1, 32, 32)
    mask[:, :16, 8:] = 1  # of the 4 x 4 patches: two rows, three columns
    seen = torch.ones(17, dtype=torch.bool)
    seen[1:] = mask[0, ::8, ::8].flatten().bool()
    block, x = tower.blocks[0], model.embed(image)
    q, k, v = block.attn.split_heads(block.norm1(x))
    scores = (q @ k.mT * block.attn.head_dim**-0.5)[:, :, 0]  # (1, heads, 17) of the class token
    scores[:, :, ~seen] = 0
    mixed = (scores.softmax(-1)[:, :, None] @ v)[:, :, 0].flatten(1)
    token = x[:, 0] + block.attn.out_proj(mixed)
    token = token + block.mlp(block.norm2(token))
    expected = tower.proj(tower.norm_post(token))
    assert close(prompts.encode_masked_class(model, image, mask), expected)
    scores[:, :, ~seen] = float("-inf")
    gone = x[:, 0] + block.attn.out_proj((scores.softmax(-1)[:, :, None] @ v)[:, :, 0].flatten(1))
    assert not close(tower.proj(tower.norm_post(gone + block.mlp(block.norm2(gone)))), expected, 1e-6)


@pytest.mark.parametrize("layers", [None, [3], [0, 2]])
@pytest.mark.parametrize("encode", [prompts.encode_masked_class, prompts.encode_masked_patches])
def test_pictures_of_a_batch_are_alone(encode, layers):
    """The released code mixes the masks of a batch over the heads; here each picture has its own."""
    model = small()
    images = torch.stack([picture(48, 48, seed) for seed in range(3)])
    masks = torch.stack([blob(48, 48, seed) for seed in range(3)])
    alone = [encode(model, image[None], mask[None], layers=layers) for image, mask in zip(images, masks)]
    assert close(encode(model, images, masks, layers=layers), torch.cat(alone))
    if encode is prompts.encode_masked_class or layers != [3]:  # behind the last block no patch is looked at
        assert not close(encode(model, images, masks[[1, 0, 2]], layers=layers), torch.cat(alone), 1e-6)


CHANGES = {
    "highlight": lambda image, mask: prompts.highlight(image, mask, blur=2.0, background=0.3),
    "crop": lambda image, mask: prompts.crop_to_mask(image, mask, size=24),
    "tint": prompts.tint,
    "outline": prompts.outline,
}


@pytest.mark.parametrize("name", CHANGES)
def test_batches_give_what_single_pictures_give_and_nothing_is_changed_in_place(name):
    images = torch.stack([picture(20, 26, seed) for seed in range(3)])
    masks = torch.stack([blob(20, 26, seed) for seed in range(3)])
    before = images.clone(), masks.clone()
    alone = torch.stack([CHANGES[name](image, mask) for image, mask in zip(images, masks)])
    assert close(CHANGES[name](images, masks), alone)
    assert torch.equal(images, before[0]) and torch.equal(masks, before[1])
    single = CHANGES[name](images.float(), masks.float())  # other number formats stay what they are
    assert single.dtype == torch.float32 and close(single, alone.float(), 1e-5)


def test_mix():
    text, seen = torch.randn(2, 3, 20, dtype=torch.float64)
    assert close(prompts.mix(text, seen, 1.0), text) and close(prompts.mix(text, seen, 0.0), seen)
    assert close(prompts.mix(text, seen, 0.25), 0.25 * text + 0.75 * seen)
    assert prompts.mix(text, seen[:1], 0.5).shape == (3, 20)


# ---------------------------------------------------------------- bad input


def every_way(image: torch.Tensor, mask: torch.Tensor):
    """Each function that takes a mask, ready to call."""
    batch, model = (image[None], mask[None]), small()
    return [
        *(lambda change=change: change(image, mask) for change in CHANGES.values()),
        lambda: prompts.encode_masked_class(model, *batch),
        lambda: prompts.encode_masked_patches(model, *batch),
    ]


def test_masks_of_another_size():
    for call in every_way(picture(32, 32), torch.ones(32, 24)):
        with pytest.raises(UserError, match=r"a mask of \(.*32, 24\) for a picture of \(.*32, 32\): expected"):
            call()
    with pytest.raises(UserError, match=r"a mask of \(2, 20, 20\) for a picture of \(3, 3, 20, 20\)"):
        prompts.highlight(picture().expand(3, -1, -1, -1), torch.ones(2, 20, 20))


def test_empty_masks():
    for call in every_way(picture(32, 32), torch.zeros(32, 32)):
        with pytest.raises(UserError, match="mask .*is all zero: it shows no object"):
            call()
    masks = torch.ones(3, 20, 20)
    masks[1] = 0
    with pytest.raises(UserError, match="mask 1 of 3 is all zero"):
        prompts.highlight(picture().expand(3, -1, -1, -1), masks)
    with pytest.raises(UserError, match="the mask is all zero"):
        prompts.mask_box(torch.zeros(4, 4))


def test_objects_smaller_than_a_patch():
    mask = torch.zeros(1, 32, 32)
    mask[:, 1:3, 1:3] = 1
    with pytest.raises(UserError, match="smaller than a patch.* 4 x 4 patch grid; use crop_to_mask"):
        prompts.encode_masked_class(small(), picture(32, 32)[None], mask)


@pytest.mark.parametrize("size", [(32, 40), (40, 32), (7, 7), (4, 8)])
@pytest.mark.parametrize("encode", [prompts.encode_masked_class, prompts.encode_masked_patches, CLIPSeg.encode_image])
def test_pictures_that_are_not_square_or_smaller_than_a_patch(encode, size):
    arguments = () if encode is CLIPSeg.encode_image else (torch.ones(1, *size),)
    with pytest.raises(UserError, match=f"square pictures .* here came {size[0]} x {size[1]}"):
        encode(small(), picture(*size)[None], *arguments)
