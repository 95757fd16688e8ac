"""Which model a checkpoint is: half of its names at least, what stands before all of them, what has no place."""

import pytest
import torch

from checkpoints_convert import SYSTEMS, build
from checkpoints_convert.building import check_finite
from checkpoints_convert.proof.suite import reference_named, tiny
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables.system import detect, features_of, unwrapped
from minimodels.errors import UserError

TIMM = reference_named("ViT", "timm")


def vit(**changes):
    """The tensors of timm's tiny ViT."""
    return redraw_all(TIMM.build(**tiny(TIMM, **changes))).state_dict()


def test_half_of_the_names_and_not_fewer():
    tensors = vit()
    strange = {f"strange.{i}": torch.ones(1) for i in range(len(tensors))}
    assert detect(tensors | strange, SYSTEMS) == ("vit", "timm")
    with pytest.raises(UserError, match="belong to no model we know"):
        detect(tensors | strange | {"one.more": torch.ones(1)}, SYSTEMS)
    with pytest.raises(UserError, match="no tensor at all"):
        detect({}, SYSTEMS)


def test_names_that_are_known_lose_nothing():
    tensors = vit()
    assert unwrapped(tensors, SYSTEMS) is tensors
    half = dict(list(tensors.items())[::2]) | {f"strange.{i}": torch.ones(1) for i in range(3)}
    assert unwrapped(half, SYSTEMS) is half
    swin = {"swin.embeddings.norm.weight": torch.ones(1)}  # a table knows it, prefix and all
    assert unwrapped(swin, SYSTEMS) is swin


def test_what_stands_before_every_name():
    tensors = vit()
    with pytest.warns(UserWarning, match="every name begins with 'module.model.', which is left out"):
        found = unwrapped({f"module.model.{name}": tensor for name, tensor in tensors.items()}, SYSTEMS)
    assert list(found) == list(tensors) and all(found[name] is tensor for name, tensor in tensors.items())
    for names in (["module."], ["a", "b"], ["module.a", "model.b"], []):
        given = {name: torch.ones(1) for name in names}
        assert unwrapped(given, SYSTEMS) is given
    most = {f"module.{name}": tensor for name, tensor in tensors.items()} | {"counter": torch.ones(1)}
    assert unwrapped(most, SYSTEMS) is most


def test_names_that_nobody_knows_stay_as_they_are():
    given = {f"module.{name}": torch.ones(1) for name in ("moon", "star")}
    with pytest.raises(UserError, match=r"no model we know \(module.moon, module.star\)"):
        detect(unwrapped(given, SYSTEMS), SYSTEMS)


def test_a_known_name_without_a_place():
    """Both norms: our ViT has the one or the other."""
    tensors = vit() | {"fc_norm.weight": torch.ones(24), "fc_norm.bias": torch.ones(24)}
    with pytest.raises(UserError, match=r"no place for norm.weight \(our norm.weight\)"):
        build(tensors, "vit", num_heads=3, image_size=(16, 24))


def test_half_precision_sums_do_not_overflow():
    large = torch.full((300, 300), 60000.0, dtype=torch.float16)
    check_finite({"w": large}, "this")
    for wrong in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(UserError, match="1 of 2 tensors hold NaN or infinite values, first v"):
            check_finite({"w": large, "v": torch.tensor([1.0, wrong])}, "this")


def test_features_are_told_once_each_with_their_first_name():
    features = {r"ls[12]": "LayerScale", "reg": "registers"}
    assert features_of(["a.ls1", "b.ls2", "c", "reg"], features) == "LayerScale (a.ls1), registers (reg)"
    assert features_of(["c"], features) == ""


def test_a_mask_token_is_dropped():
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 8}
    model = ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8), use_mask_token=True, add_pooling_layer=False)
    assert "embeddings.mask_token" in model.state_dict()
    ours = build(model.state_dict(), "vit", num_heads=3)
    assert ours.state_dict()["blocks.0.norm1.weight"].shape == (24,)
