"""The masked CLIP against one that is written as a loop over boxes and rows; many boxes; what runs once; clouds."""

import pytest
import torch
import torch.nn.functional as F

from minimodels import falip
from minimodels.clip import CLIP
from minimodels.depth_maps import depth_maps
from minimodels.errors import UserError
from minimodels.falip import FoveatedCLIP, cloud_scores, cloud_views, first_masked_block, foveal_masks

DEPTH, HEADS, SIDE = 4, 3, 4


@pytest.fixture
def clip():
    torch.manual_seed(0)
    model = CLIP(
        embed_dim=10, image_size=4 * SIDE, patch_size=4, vision_width=12, vision_depth=DEPTH, vision_heads=HEADS,
        text_width=8, text_depth=1, text_heads=2, context_length=6, vocab_size=20,
    )  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


@pytest.fixture
def image():
    return torch.randn(1, 3, 4 * SIDE, 4 * SIDE, generator=torch.Generator().manual_seed(1)).double()


def draw_masks(count, *heads):
    return torch.randn(count, *heads, SIDE * SIDE + 1, generator=torch.Generator().manual_seed(2)).double()


def one_by_one(clip, image, masks, first):
    """One whole pass for each box, one softmax for each head and row."""
    found, tower = [], clip.image_tower
    for mask in masks.expand(-1, HEADS, -1) if masks.ndim == 3 else masks[:, None].expand(-1, HEADS, -1):
        x = tower.embed(image)
        for number, block in enumerate(tower.blocks):
            q, k, v = block.attn.split_heads(block.norm1(x))
            heads = []
            for head in range(HEADS):
                rows = []
                for row in range(x.shape[1]):
                    scores = k[0, head] @ q[0, head, row] / block.attn.head_dim**0.5
                    if number >= first and row == 0:
                        scores = scores + mask[head]
                    rows.append(scores.softmax(0) @ v[0, head])
                heads.append(torch.stack(rows))
            x = x + block.attn.out_proj(torch.cat(heads, dim=1))[None]
            x = x + block.mlp(block.norm2(x))
        found.append(tower.proj(tower.norm_post(x[0, 0])))
    return torch.stack(found)


@pytest.mark.parametrize("first", range(DEPTH))
@pytest.mark.parametrize("heads", [(), (HEADS,)], ids=["alike", "each its own"])
def test_against_a_loop(clip, image, first, heads):
    masks = draw_masks(3, *heads)
    ours = FoveatedCLIP(clip, first).encode_image(image, masks)
    assert torch.allclose(ours, one_by_one(clip, image, masks, first), rtol=1e-10, atol=1e-10)


def test_zeros_are_plain_clip(clip, image):
    ours = FoveatedCLIP(clip, 1).encode_image(image, torch.zeros(2, SIDE * SIDE + 1).double())
    assert torch.allclose(ours, clip.encode_image(image).expand(2, -1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [1, falip.AT_ONCE, falip.AT_ONCE + 1, 500])
def test_many_boxes_are_those_one_by_one(clip, image, count, monkeypatch):
    """500 boxes go through in pieces: no tensor holds more than AT_ONCE of them."""
    largest, finish = [], falip.finish
    monkeypatch.setattr(falip, "finish", lambda block, x, mixed: largest.append(len(mixed)) or finish(block, x, mixed))
    model, masks = FoveatedCLIP(clip, 1), draw_masks(count)
    together = model.encode_image(image, masks)
    assert max(largest) <= falip.AT_ONCE
    for number in {0, count // 2, count - 1}:
        alone = model.encode_image(image, masks[number : number + 1])
        assert torch.allclose(together[number : number + 1], alone, rtol=1e-10, atol=1e-10)


def test_what_no_mask_changes_runs_once(clip, image):
    """Blocks before the first masked one see one picture once, and so do the patches inside that one."""
    seen = {}
    for number, block in enumerate(clip.image_tower.blocks):
        block.mlp.register_forward_hook(
            lambda module, given, out, n=number: seen.setdefault(n, []).append(tuple(given[0].shape[:2]))
        )
    FoveatedCLIP(clip, 1).encode_image(image, draw_masks(5))
    patches = SIDE * SIDE
    assert seen == {0: [(1, patches + 1)], 1: [(5, 1), (1, patches)], 2: [(5, 1), (5, patches)], 3: [(5, 1)]}


@pytest.mark.parametrize("heads", [(), (HEADS,)], ids=["alike", "each its own"])
def test_attention_is_what_runs(clip, image, heads):
    """Rows that sum to one; the last block's class token, mixed by them, gives the embedding."""
    model, masks = FoveatedCLIP(clip, 2), draw_masks(3, *heads)
    weights = model.attention(image, masks)
    assert weights.shape == (3, HEADS, SIDE * SIDE + 1) and torch.allclose(
        weights.sum(-1), torch.ones(3, HEADS).double()
    )
    x, tower = model.before(image), clip.image_tower
    x, last = model.until_last(x, model.bonus(masks, x)), tower.blocks[-1]
    _, _, v = last.attn.split_heads(last.norm1(x))
    token = x[:, 0] + last.attn.out_proj(torch.einsum("bhn,bhnd->bhd", weights, v).flatten(1))
    token = token + last.mlp(last.norm2(token))
    ours = model.encode_image(image, masks)
    assert torch.allclose(ours, tower.proj(tower.norm_post(token)), rtol=1e-10, atol=1e-10)


def test_gradients_of_masks_and_picture(clip, image):
    """By finite differences: no library has this model."""
    masks = draw_masks(2).requires_grad_()
    assert torch.autograd.gradcheck(FoveatedCLIP(clip, 1).encode_image, (image.requires_grad_(), masks), fast_mode=True)


@pytest.mark.parametrize("depth, first", [(12, 8), (24, 8), (9, 8), (8, 0), (4, 0), (1, 0)])
def test_the_first_masked_block(depth, first):
    assert first_masked_block(depth) == first


@pytest.mark.parametrize("first", [-1, DEPTH, 99])
def test_a_block_that_is_not_there(clip, first):
    with pytest.raises(UserError, match=f"count from 0 to {DEPTH - 1}"):
        FoveatedCLIP(clip, first)


@pytest.mark.parametrize("shape", [(2, 16), (2, 18), (2, 1, 17), (2, 2, 17), (0, 17), (17,), (1, 1, 3, 17)])
def test_masks_for_another_model(clip, image, shape):
    """No box, another grid, another number of heads, one axis too few or too many."""
    model = FoveatedCLIP(clip)
    with pytest.raises(Exception, match="masks of|shape|type") as told:
        model.encode_image(image, torch.zeros(shape).double())
    assert told.type is UserError or "jaxtyping" in str(told.type)


def test_half_precision_runs(clip, image):
    ours = FoveatedCLIP(clip.bfloat16(), 2).encode_image(image.bfloat16(), draw_masks(3))
    assert ours.dtype == torch.bfloat16 and ours.isfinite().all()


def test_subtract_is_the_mean_of_the_bank():
    scores, bank = torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 4.0], [2.0, 8.0]])
    assert torch.equal(falip.subtract(scores, bank), torch.tensor([[0.0, -1.0]]))


# ---------------------------------------------------------------- point clouds


def sphere(count=400):
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(3)).double()
    return F.normalize(points, dim=1) * 0.9


def test_views_and_their_masks():
    """Each view's box holds all pixels with a depth and touches them on four sides; the mask has its patches alone."""
    images, masks = cloud_views(sphere(), 16, 4)
    assert images.shape == (6, 3, 16, 16) and masks.shape == (6, 17)
    for image, mask, depth in zip(images, masks, depth_maps(sphere())):
        shown = F.interpolate(depth[None, None], (16, 16), mode="bilinear", align_corners=True)[0, 0]
        assert all(torch.equal(channel, shown) for channel in image)
        rows, columns = (shown > 0).nonzero(as_tuple=True)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert torch.equal(mask, foveal_masks([tuple(map(int, box))], (16, 16), 16, 4)[0])


def test_views_are_weighted_and_summed(clip):
    text, model = torch.randn(5, 10).double(), FoveatedCLIP(clip, 2)
    images, masks = cloud_views(sphere(), 16, 4)
    alone = [
        model.scores(model.encode_image(image[None], mask[None]), text)[:, 0] for image, mask in zip(images, masks)
    ]
    weights = (1.0, 0.5, 0.0, 2.0, 0.25, 3.0)
    wanted = sum(weight * score for weight, score in zip(weights, alone))
    assert torch.allclose(cloud_scores(model, sphere(), text, weights), wanted, rtol=1e-10)
    with pytest.raises(ValueError):
        cloud_scores(model, sphere(), text, weights[:5])
