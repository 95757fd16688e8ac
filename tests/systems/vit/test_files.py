"""ViT's files as the hub spells them."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from checkpoints_convert import build
from checkpoints_convert.proof.suite import reference_named, tiny, twins
from checkpoints_convert.proof.verify import redraw_all
from minimodels.errors import UserError

TRANSFORMERS = reference_named("ViT", "transformers")
TIMM = reference_named("ViT", "timm")


@pytest.mark.parity
@pytest.mark.parametrize("head", [True, False], ids=["ViTForImageClassification", "ViTModel"])
def test_transformers_files(head, tmp_path):
    """Files on the hub spell the names as before version 5; what save_pretrained writes becomes the same model."""
    sizes = {**tiny(TRANSFORMERS), "head": head}
    form = "transformers" if head else "transformers_backbone"
    pair = twins(replace(TRANSFORMERS, format="transformers_v5" if head else "transformers_v5_backbone"), sizes)
    pair.theirs.save_pretrained(tmp_path)
    told = {key: value for key, value in TRANSFORMERS.told(sizes).items() if key != "norm_eps"}
    for chosen in (form, None):
        ours = build(load_file(tmp_path / "model.safetensors"), "vit", format=chosen, **told)
        assert ours.about["format"] == form
        assert ours.state_dict().keys() == pair.ours.state_dict().keys()
        assert all(torch.equal(tensor, pair.ours.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_positions_that_are_no_table():
    tensors = dict(redraw_all(TIMM.build(**TIMM.tiny)).state_dict())
    with pytest.raises(UserError):
        build({**tensors, "pos_embed": torch.ones(4)}, "vit", format="timm", **TIMM.told(TIMM.tiny))
