"""CLIP against open_clip and transformers: embeddings, logits, every block, gradients, the text tower's cut."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside
from minimodels.blocks import Attention
from minimodels.clip import CLIP, trim
from minimodels.clip_resnet import AttentionPool
from minimodels.errors import UserError

pytestmark = pytest.mark.parity
OPEN_CLIP = reference_named("CLIP ViT", "open_clip")
TRANSFORMERS = reference_named("CLIP ViT", "transformers")
RESNET = reference_named("CLIP ResNet", "open_clip")


def test_logits_are_those_of_the_libraries(device):
    """`CLIP(image, ids)` against the libraries' own last steps, not our words for them."""
    pair = twins(OPEN_CLIP, device=device)
    logits, transposed = pair.theirs.double().get_logits(pair.inputs["image"].double(), pair.inputs["ids"])
    ours = pair.ours.double()(pair.inputs["image"].double(), pair.inputs["ids"])
    torch.testing.assert_close(ours, logits, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(ours.T, transposed, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("reference", [OPEN_CLIP, RESNET], ids=["ViT", "ResNet"])
def test_short_texts_need_not_be_run_to_the_end(reference, device):
    """Texts trimmed to the last end-of-text of the batch: fewer tokens in the blocks, the same answer."""
    pair = twins(reference, device=device)
    tower, ids = pair.ours.double().text_tower, pair.inputs["ids"][1:]  # the two that end early: at places 4 and 1
    assert trim(ids).shape == (2, 5) and torch.equal(trim(ids), ids[:, :5]) and trim(ids[:0]).shape == (0, 9)
    short = tower(trim(ids))
    torch.testing.assert_close(short, tower(ids), atol=1e-12, rtol=0)
    assert (tower(trim(ids)[:, :-1]) - short).abs().max() > 1e-6  # the mutant: cut one too early
    torch.testing.assert_close(short, pair.theirs.double().encode_text(ids), atol=1e-10, rtol=1e-10)


def test_what_comes_behind_the_end_does_not_count(device):
    """Other tokens behind the first end-of-text, a second end-of-text among them, change nothing."""
    pair = twins(OPEN_CLIP, device=device)
    tower, ids = pair.ours.double().text_tower, pair.inputs["ids"].clone()
    before = tower(ids)
    ids[2, 2:] = torch.tensor([7, 59, 3, 59, 1, 2, 5], device=device)
    torch.testing.assert_close(tower(ids), before, atol=1e-12, rtol=0)


def test_a_shorter_row_is_enough(device):
    """Ids without any padding give what the padded ones give."""
    pair = twins(OPEN_CLIP, device=device)
    tower, ids = pair.ours.double().text_tower, pair.inputs["ids"]
    torch.testing.assert_close(tower(ids[1:, :6]), tower(ids)[1:], atol=1e-12, rtol=0)


def test_wrong_sizes_are_told(device):
    pair = twins(OPEN_CLIP, device=device)
    with pytest.raises(UserError, match="24 x 24.*here came 32 x 24"):
        pair.ours.encode_image(torch.zeros(1, 3, 32, 24, device=device))
    with pytest.raises(UserError, match="10 tokens do not fit a context of 9"):
        pair.ours.encode_text(torch.arange(10, device=device)[None])
    with pytest.raises(UserError, match="64 x 64.*here came 32 x 32"):
        twins(RESNET, device=device).ours.encode_image(torch.zeros(1, 3, 32, 32, device=device))


def test_released_sizes_are_the_defaults():
    """`CLIP()` is ViT-B/32 and has its number of parameters."""
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in CLIP().parameters()) == 151_277_313


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openai/clip-vit-base-patch16", "ViT-B/32", "RN50", "RN101", "RN50x4"])
def test_full_size(name, device):
    for reference in (OPEN_CLIP, TRANSFORMERS, RESNET):
        if name in reference.official:
            comparison = beside(reference, reference.official[name], device=device, batch=1)
            assert comparison.ok, f"\n{comparison}"


@pytest.mark.parametrize("heads", [7, 0, -4])
def test_heads_divide_the_width(heads):
    with pytest.raises(UserError, match=f"256 channels cannot be split into {heads} heads"):
        AttentionPool(channels=256, grid=2, num_heads=heads, embed_dim=12)
    with pytest.raises(UserError, match=f"embed_dim 256 cannot be split into {heads} heads"):
        Attention(256, heads)
