"""BiomedCLIP's defaults, its sizes, and how its texts are cut."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, twins
from minimodels.bert import BERT
from minimodels.biomedclip import BiomedCLIP, ProjectedBERT, ProjectedViT
from minimodels.errors import UserError
from minimodels.vit import ViT
from tests.systems.defaults import defaults, empty, epsilons, parameters
from tests.systems.sizes import assert_right_or_refused

REFERENCE = reference_named("BiomedCLIP", "open_clip")
NAME = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"


def test_defaults():
    assert defaults(BiomedCLIP) == {"embed_dim": 512, "pad": 0}
    assert defaults(ProjectedBERT) == {"pad": 0} and defaults(ProjectedViT) == {}


def test_they_are_the_released_model():
    """As many numbers as open_clip's; 640 lies in the middle of 768 and 512; no projection has a bias."""
    with torch.device("meta"):
        ours = BiomedCLIP(ViT(num_classes=0), BERT())
        theirs = REFERENCE.build(**REFERENCE.official[NAME])
    assert parameters(ours) == parameters(theirs) == 195_902_721
    assert epsilons(ours.image_tower) == epsilons(theirs.visual) == {1e-6}
    assert epsilons(ours.text_tower) == epsilons(theirs.text) == {1e-12}
    assert ours.text_tower.fc1.out_features == 640
    layers = (ours.image_tower.proj, ours.text_tower.fc1, ours.text_tower.fc2)
    assert all(layer.bias is None for layer in layers)
    assert {block.attn.num_heads for block in ours.image_tower.vit.blocks} == {12}


def test_the_middle_is_rounded_down():
    bert = {"vocab_size": 9, "max_length": 5, "depth": 1, "num_heads": 2, "mlp_dim": 8}
    assert empty(ProjectedBERT, empty(BERT, **bert, embed_dim=8), 5).fc1.out_features == 6


@pytest.mark.parity
def test_padding_changes_nothing(device):
    """Trimmed to the longest text, padded to any length, or with nothing between: the same answer as the library's."""
    pair = twins(REFERENCE, device=device)
    ours, ids = pair.ours.double(), pair.inputs["ids"]
    expected = pair.theirs.double().encode_text(ids)
    for given in (ids, ours.trim(ids), torch.cat([ids, torch.zeros_like(ids)], dim=1)):
        torch.testing.assert_close(ours.encode_text(given), expected, atol=1e-10, rtol=1e-10)
    assert ours.trim(ids[1:]).shape == (2, 7) and ours.trim(ids[:0]).shape[0] == 0
    with pytest.raises(UserError, match="41"):
        ours.encode_text(torch.ones(1, 41, dtype=torch.long, device=device))


@pytest.mark.parity
def test_other_sizes(device):
    """open_clip's tower reads its own size alone; ours resizes the positions of others, or names the size."""
    pair = twins(REFERENCE, device=device)
    ours, theirs = pair.ours.double(), pair.theirs.double()
    assert_right_or_refused(
        ours.encode_image, theirs.encode_image, (160,), (160,), lambda height, width: height == width == 160
    )
    assert_right_or_refused(
        ours.encode_image,
        None,
        (0, 15, 16, 80),
        (0, 17, 32),
        lambda height, width: not height % 16 and not width % 16 and height * width > 0,
    )
