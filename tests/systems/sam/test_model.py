"""SAM's attention in the open, its batches of images and prompts, and what it refuses."""

import pytest
import torch
from einops import rearrange

from checkpoints_convert.proof.verify import difference, redraw_all
from minimodels import sam
from minimodels.errors import UserError
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import SAM, RelativeAttention
from tests.systems.sam.small import SMALL, pictures, prompts, small


@pytest.mark.parametrize("window", [None, 3])
def test_few_heads_at_a_time_and_weights_in_the_open(window, monkeypatch):
    attention = redraw_all(RelativeAttention(24, 3, 5, window)).double()
    x = torch.randn(2, 5, 5, 24, dtype=torch.float64)
    with torch.no_grad():
        together = attention(x)
        monkeypatch.setattr(sam, "SCORES_AT_ONCE", 1)
        assert difference(attention(x), together) <= 1e-14
        (_, _, v), grid = attention.split_heads(x)
        mixed = rearrange(attention.weights(x) @ v, "b heads (h w) d -> b h w (heads d)", h=grid[0])
        mixed = mixed if window is None else sam.join_windows(mixed, (5, 5))
        assert difference(attention.out_proj(mixed), together) <= 1e-14


def test_batches_of_images_and_of_prompts():
    """Every image with every prompt alone gives what the batch gives; one image's prompts serve all."""
    model, images, given = small(), pictures(3), prompts(3, 4)
    with torch.no_grad():
        together = model(images, **given)
        shared = model(images, **{name: tensor[:1] for name, tensor in given.items()})
        for image in range(3):
            for prompt in range(4):
                one = {name: tensor[image : image + 1, prompt : prompt + 1] for name, tensor in given.items()}
                alone = model(images[image : image + 1], **one)
                first = {name: tensor[:1, prompt : prompt + 1] for name, tensor in given.items()}
                with_first = model(images[image : image + 1], **first)
                for found, whole in ((alone, together), (with_first, shared)):
                    assert difference(found[0][0, 0], whole[0][image, prompt]) <= 1e-12
                    assert difference(found[1][0, 0], whole[1][image, prompt]) <= 1e-12
        none = model(images)
        assert none[0].shape == (3, 1, 3, 20, 20) and none[1].shape == (3, 1, 3)
        only_mask = model(images, mask=given["mask"])
        assert only_mask[0].shape == (3, 4, 3, 20, 20)


def test_the_masks_of_each_setting_are_slices_of_all():
    model, embedding, given = small(), small().encode(pictures(1)), prompts(1, 2)
    with torch.no_grad():
        (every, iou), (three, _), (single, lone) = (
            model.decode(embedding, **given, multimask=setting) for setting in (None, True, False)
        )
    assert difference(every[:, :, 1:], three) <= 1e-12 and difference(every[:, :, :1], single) <= 1e-12
    assert difference(iou[:, :, :1], lone) <= 1e-12 and iou.shape == (1, 2, 4)


def test_finite_differences_agree_with_the_gradients_of_prompts():
    model, given = small(), prompts(1, 1)
    embedding = model.encode(pictures(1)).detach()

    def ask(points, boxes, mask):
        masks, iou = model.decode(embedding, points, given["labels"], boxes, mask)
        return masks[..., ::7, ::7], iou

    wanted = [given[name].requires_grad_() for name in ("points", "boxes", "mask")]
    assert torch.autograd.gradcheck(ask, wanted, fast_mode=True)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": None}, "points and labels go together"),
        ({"points": None}, "points and labels go together"),
        ({"boxes": torch.zeros(2, 3, 4)}, "2 images and prompts .* all alike"),
        ({"points": torch.zeros(3, 4, 2, 2), "boxes": None, "mask": None}, "all alike"),
        ({"labels": torch.zeros(2, 4, 3, dtype=torch.long)}, r"need labels \(2, 4, 2\), here came \(2, 4, 3\)"),
        ({"mask": torch.zeros(2, 4, 10, 10)}, r"20 x 20 logits here, came \(10, 10\)"),
    ],
)
def test_prompts_that_do_not_fit(change, message):
    """Asked of the check itself: in the tests the annotations of `decode` would speak first."""
    with pytest.raises(UserError, match=message):
        sam.check_prompts(2, 5, **{**prompts(2, 4), **change})


def test_pictures_and_sizes_that_do_not_fit():
    with pytest.raises(UserError, match="pictures of 40 x 40 pixels, padded .* here came 48 x 48"):
        small().encode(pictures(1, 48))
    for change, message in [
        ({"image_size": 44}, "image_size 44 must be a multiple of 8"),
        ({"prompt_dim": 20}, "prompt_dim 20 of 8"),
        ({"num_heads": 5}, "embed_dim 24 cannot be split into 5 heads"),
        ({"decoder_heads": 3}, "16 channels cannot be split into 3 heads"),
    ]:
        with pytest.raises(UserError, match=message):
            SAM(**{**SMALL, **change})
    with pytest.raises(UserError, match="expected 1 to 8192"):
        PaddedPreprocess(0)
