"""Matcher as a whole, with stand-ins for its two networks; what it refuses."""

import pytest
import torch
from einops import rearrange
from torch import nn

from minimodels import matcher
from minimodels.errors import UserError
from minimodels.sam import SAM
from minimodels.sam_everything import Proposal, SAMProposer, encode_runs


class Colours(nn.Module):
    """Features that are the patch's pixels themselves."""

    patch_size = 4

    def patch_features(self, image):
        return rearrange(image, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4)


class Drawn(matcher.Matcher):
    """Matcher whose proposals are given."""

    drawn: list = []

    def propose(self, image, prompts, box):
        return [
            Proposal(encode_runs(mask.numpy()), tuple(mask.shape), (0, 0, 1, 1), 1.0, 1.0, (0.0, 0.0), (0, 0, 32, 32))
            for mask in self.drawn
        ]


SMALL_SAM = {
    "image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "window_size": 2,
    "global_blocks": (), "prompt_dim": 16, "decoder_heads": 2, "decoder_mlp_dim": 16, "iou_dim": 8,
}  # fmt: skip


def scene(left: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy grey picture with a red square that begins at a column, and the square's mask."""
    dice = torch.Generator().manual_seed(seed)
    picture, mask = 0.4 + 0.2 * torch.rand(3, 32, 32, generator=dice), torch.zeros(32, 32)
    mask[8:20, left : left + 12] = 1
    red = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    return torch.where(mask > 0, red + 0.05 * torch.rand(3, 32, 32, generator=dice), picture), mask


def with_proposals(*masks: torch.Tensor, **numbers) -> Drawn:
    model = Drawn(Colours(), SAMProposer(SAM(**SMALL_SAM)), **{"num_centers": 0, "draws": 2, **numbers})
    model.drawn = [mask > 0 for mask in masks]
    return model


def test_it_finds_the_square_and_tells_each_step():
    (reference, marked), (target, wanted) = scene(4), scene(16, seed=1)
    found = with_proposals(wanted, 1 - wanted, marked, alpha=0.8, beta=0.2, exponent=1.0)(
        reference[None], marked[None], target
    )
    assert found.found and torch.equal(found.mask, wanted > 0) and found.chosen.tolist() == [0]
    assert found.score > 0.9 and found.scores.emd.argmax() == 0
    assert found.marked.sum() == 9 and found.matches.retained.all()
    assert all(wanted[y, x] for x, y in found.points.tolist())
    assert [sets.shape[1] for sets in found.prompts] == [4, 5, 6]


def test_reference_equal_to_target_gives_the_mask_back():
    picture, mask = scene(8)
    found = with_proposals(1 - mask, mask)(picture[None], mask[None], picture)
    assert torch.equal(found.mask, mask > 0) and abs(found.score - 1) < 1e-6
    assert torch.equal(found.matches.target, found.matches.reference) and found.matches.retained.all()
    assert bool((found.matches.strength > 0.9999).all())


def test_no_mask_means_the_middle_and_the_caller_keeps_his_tensor():
    (picture, _), nothing = scene(8), torch.zeros(1, 32, 32)
    found = with_proposals(scene(8)[1])(picture[None], nothing, picture)
    assert found.marked.sum() == 16 and found.marked.reshape(8, 8)[2:6, 2:6].all()  # 14 pixels touch 4 x 4 patches
    assert nothing.sum() == 0


def test_a_full_mask_has_nothing_to_come_back_wrongly():
    (reference, mask), (target, _) = scene(4), scene(16, seed=1)
    found = with_proposals(mask)(reference[None], torch.ones(1, 32, 32), target)
    assert found.marked.all() and found.matches.retained.all()


def test_no_proposal_is_an_answer_too():
    (picture, mask) = scene(8)
    found = with_proposals()(picture[None], mask[None], picture)
    assert not found.found and found.score == 0 and not found.mask.any() and found.mask.shape == (32, 32)
    assert len(found.totals) == len(found.kept) == len(found.chosen) == 0


def test_what_scores_too_low_is_not_found():
    (reference, marked), (target, wanted) = scene(4), scene(16, seed=1)
    grey = target.flip(2)[:, :, :].clone()
    grey[:] = scene(0, seed=2)[0][:, 24:, :].repeat(1, 4, 1)  # a picture without any red
    there = with_proposals(wanted, least_score=0.9)(reference[None], marked[None], target)
    absent = with_proposals(wanted, least_score=0.9)(reference[None], marked[None], grey)
    assert there.found and not absent.found and absent.score < 0.9 < there.score


def test_few_shots_are_more_rows():
    shots, (target, wanted) = [scene(4), scene(12, seed=3)], scene(16, seed=1)
    images, masks = (torch.stack(column) for column in zip(*shots))
    found = with_proposals(wanted, 1 - wanted)(images, masks, target)
    assert found.matches.similarity.shape == (128, 64) and found.marked.sum() == 18
    assert torch.equal(found.mask, wanted > 0)


def test_the_same_seed_gives_the_same_prompts():
    (reference, marked), (target, wanted) = scene(4), scene(16, seed=1)
    model = with_proposals(wanted, num_centers=8)
    one, two, other = (model(reference[None], marked[None], target, seed=seed).prompts for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, two))
    assert not all(torch.equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize(
    "reference, mask, target, message",
    [
        ((1, 3, 32, 32), (1, 30, 32), (3, 32, 32), r"masks have shape \(1, 30, 32\), expected \(1, 32, 32\)"),
        ((2, 3, 32, 32), (1, 32, 32), (3, 32, 32), r"expected \(2, 32, 32\): one for each"),
        ((1, 3, 32, 32), (1, 32, 32), (3, 32, 36), "squares with sides of 4, 8 .* the target has 32 x 36"),
        ((1, 3, 30, 30), (1, 30, 30), (3, 30, 30), "the target has 30 x 30"),
        ((1, 3, 36, 36), (1, 36, 36), (3, 32, 32), "the reference has 36 x 36 pixels, the target 32 x 32"),
    ],
)
def test_sizes_that_do_not_fit(reference, mask, target, message):
    with pytest.raises(UserError, match=message):
        matcher.check_sizes(torch.zeros(reference), torch.zeros(mask), torch.zeros(target), 4)


def test_a_mask_too_thin_for_the_threshold():
    picture, mask = scene(8)
    thin = torch.zeros_like(mask)
    thin[3, 3] = 1
    with pytest.raises(UserError, match="no patch of the mask is marked by more than 0.5"):
        with_proposals(mask, threshold=0.5)(picture[None], thin[None], picture)


def test_the_released_settings():
    sam = SAMProposer(SAM(**SMALL_SAM))
    semantic, whole, part = (
        matcher.Matcher(Colours(), sam, **numbers) for numbers in (matcher.SEMANTIC, matcher.WHOLE_OBJECT, matcher.PART)
    )
    assert semantic.points_per_side == 64 and semantic.keep.multimask and semantic.closeness == (0.33, 0.1)
    assert whole.num_centers == 8 and whole.share == 0.7 and whole.merge == 10 and not whole.use_box
    assert part.use_box and part.filters["coverage"] == 0.3 and part.num_centers == 0
