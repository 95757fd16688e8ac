"""What LAVT promises: maps by name, weights in the open, padding, any size; and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.verify import redraw_all
from minimodels import lavt as file
from minimodels.bert import BERT
from minimodels.errors import UserError
from minimodels.lavt import LAVT, PWAM, READINGS_OF_Y1
from minimodels.swin import SwinBackbone
from tests.systems.lavt.small import given, small

# ---------------------------------------------------------------- what it promises


def test_names_of_the_maps():
    """Every intermediate of the paper by name, both readings of Y1 among them."""
    model = small()
    image, ids, mask = given(height=64, width=64)
    with torch.no_grad():
        maps = model.maps(image, model.encode_text(ids, mask), mask)
        assert difference(model(image, ids, mask), maps["logits"]) <= 1e-12
    names = {f"{letter}_{i}" for letter in "VFNY" for i in (1, 2, 3)} | {"E_1", "E_2"}
    assert maps.keys() == names | {"patches", "logits_low", "logits"}
    assert {name: tuple(maps[name].shape) for name in READINGS_OF_Y1.values()} == {
        "Y_1": (2, 6, 32, 32),
        "N_1": (2, 8, 32, 32),
    }
    assert torch.equal(maps["Y_3"], maps["N_3"])
    assert maps["V_3"].shape == maps["F_3"].shape == (2, 32, 8, 8)


@pytest.mark.parametrize("heads", [1, 3])
def test_the_weights_in_the_open_are_those_that_run(heads):
    module = redraw_all(PWAM(12, 5, heads), seed=1).double()
    visual, words = torch.randn(2, 4, 5, 12, dtype=torch.float64), torch.randn(2, 6, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    with torch.no_grad():
        weights = module.weights(visual, words, mask)
        value = rearrange(module.value(words), "b t (heads d) -> b heads t d", heads=heads)
        mixed = torch.einsum("bnhwt,bntd->bhwnd", weights, value).flatten(3)
        attended = file.instance_norm(module.attended_proj(mixed))
        expected = F.gelu(module.out_proj(F.gelu(module.visual_proj(visual)) * attended))
        assert difference(module(visual, words, mask), expected) <= 1e-12
    assert difference(weights.sum(-1), torch.ones(2, heads, 4, 5)) <= 1e-12 and weights[1, ..., 2:].eq(0).all()


def test_padding_changes_nothing():
    """A sentence padded to another length gives the same logits."""
    model = small()
    image, ids, mask = given()
    longer = F.pad(ids, (0, 3)), F.pad(mask, (0, 3))
    with torch.no_grad():
        assert difference(model(image, *longer), model(image, ids, mask)) <= 1e-12


@pytest.mark.parametrize("size", [(33, 2000), (9, 1), (1, 9), (64, 64), (17, 40)])
def test_any_size_with_more_than_one_last_position(size):
    """Each picture alone and in a batch, the logits of its own size, finite."""
    model = small()
    image, ids, mask = given(height=size[0], width=size[1])
    with torch.no_grad():
        logits = model(image, ids, mask)
        alone = torch.cat([model(image[i : i + 1], ids[i : i + 1], mask[i : i + 1]) for i in range(2)])
    assert logits.shape == (2, 2, *size) and logits.isfinite().all() and difference(logits, alone) <= 1e-9


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 7)])
def test_a_picture_that_ends_as_one_position(size):
    _, ids, mask = given()
    with pytest.raises(UserError, match=f"{size[0]} x {size[1]} pixels ends as one position.*more than 8 pixels"):
        small()(torch.zeros(2, 3, *size, dtype=torch.float64), ids, mask)


def test_sentences_that_are_too_long_for_bert():
    image, ids, mask = given(tokens=13)
    with pytest.raises(UserError, match="13 tokens do not fit this BERT's 12 positions"):
        small()(image, ids, mask)


@pytest.mark.parametrize(
    "images, words, mask, message",
    [
        (1, (2, 7, 12), (2, 7), "1 pictures and 2 sentences.*image.expand"),
        (2, (2, 7, 11), (2, 7), r"words have shape \(2, 7, 11\).*\(sentences, tokens, 12\)"),
        (0, (0, 7, 12), (0, 7), "0 pictures and 0 sentences"),
    ],
)
def test_words_that_do_not_fit(images, words, mask, message):
    image = torch.zeros(images, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(UserError, match=message):
        small().segment(image, torch.zeros(words, dtype=torch.float64), torch.ones(mask, dtype=torch.long))


@pytest.mark.parametrize("words", [(14, 12), (2, 7, 1, 12), (12,)])
def test_words_that_are_no_sentences(words):
    with pytest.raises(UserError, match=r"expected \(sentences, tokens, 12\)"):
        file.check_words(torch.zeros(2, 3, 32, 32), torch.zeros(words), torch.ones(words[:2]), 12)


def test_a_mask_of_another_length():
    with pytest.raises(UserError, match=r"their mask \(2, 6\)"):
        file.check_words(torch.zeros(2, 3, 32, 32), torch.zeros(2, 7, 12), torch.ones(2, 6), 12)


@pytest.mark.parametrize("heads", [(), (1,), (1, 1)])
def test_one_stage_is_no_lavt(heads):
    """The decoder walks from the last stage to the first: there is nothing to walk over. Two stages are enough."""
    numbers = {"patch_size": 2, "embed_dim": 8, "window_size": 2}
    bert = BERT(vocab_size=9, max_length=5, embed_dim=8, depth=1, num_heads=2, mlp_dim=8)
    with pytest.raises(UserError, match="for a backbone of 1 stages: give one number for each stage, two stages or"):
        LAVT(SwinBackbone(**numbers, depths=(2,), num_heads=(2,)), bert, fusion_heads=heads)
    two = SwinBackbone(**numbers, depths=(2, 2), num_heads=(2, 4))
    if len(heads) == 2:
        ids = torch.ones(1, 3, dtype=torch.long)
        assert LAVT(two, bert, fusion_heads=heads).eval()(torch.zeros(1, 3, 8, 8), ids, ids).shape == (1, 2, 8, 8)
    else:
        with pytest.raises(UserError, match="for a backbone of 2 stages"):
            LAVT(two, bert, fusion_heads=heads)


def test_sizes_that_make_no_model():
    with pytest.raises(UserError, match="one number for each stage"):
        small(fusion_heads=(1, 1))
    with pytest.raises(UserError, match="embed_dim 8 cannot be split into 3 heads"):
        small(fusion_heads=(3, 1, 1))
