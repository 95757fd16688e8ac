"""Which types of numbers make a model: floating ones only, judged as the file has them."""

import pytest
import torch

from checkpoints_convert import build, load
from checkpoints_convert.__main__ import main
from checkpoints_convert.reading.files import check_dtypes
from minimodels.errors import UserError


def timm_vit() -> dict[str, torch.Tensor]:
    timm = pytest.importorskip("timm.models.vision_transformer")
    model = timm.VisionTransformer(img_size=16, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=2)
    return model.state_dict()


def transformers_vit() -> dict[str, torch.Tensor]:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=128, image_size=16, patch_size=8
    )
    return transformers.ViTForImageClassification(config).state_dict()


def test_dtypes():
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    check_dtypes({f"w{i}": torch.ones(1).to(dtype) for i, dtype in enumerate(floats)}, "x")
    for name, dtype in (
        ("w.weight", torch.int8),
        ("w.weight", torch.int64),
        ("pos_embed", torch.int64),
        ("mask", torch.bool),
        ("w", torch.float8_e4m3fn),
        ("w", torch.complex64),
    ):
        with pytest.raises(
            UserError, match=f"the checkpoint: 1 of 2 .* {name} is {dtype}; expected".replace("torch.", "")
        ):
            check_dtypes({"fine.weight": torch.ones(1), name: torch.ones(2).to(dtype)}, "the checkpoint")


@pytest.mark.parametrize("name", ["cls_token", "blocks.0.attn.qkv.bias", "patch_embed.proj.weight"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.int8])
def test_a_weight_of_integers_makes_no_model(name, dtype):
    """Whatever its name; the error says which, as the file names it."""
    tensors = timm_vit()
    build(tensors, "vit")
    tensors[name] = tensors[name].to(dtype)
    with pytest.raises(UserError, match=rf"1 of \d+ tensors are not floating numbers, first {name} is"):
        build(tensors, "vit")


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_one_of_three_that_become_one_is_of_integers(part):
    """torch.cat would promote it in silence."""
    tensors = transformers_vit()
    build(tensors, "vit")
    wanted = {"q": ("query", "q_proj"), "k": ("key", "k_proj"), "v": ("value", "v_proj")}[part]
    name = next(name for name in tensors if any(f"{word}.weight" in name for word in wanted))
    tensors[name] = tensors[name].to(torch.int8)
    with pytest.raises(UserError, match=f"{name} .*: cannot stack rows .*types .*torch.int8"):
        build(tensors, "vit")


def test_weights_that_share_memory(tmp_path):
    """A file may hold two tensors once; the model that comes of it, and our own file, hold both."""
    tensors = timm_vit()
    for name in [name for name in tensors if name.startswith("blocks.0.")]:
        tensors[name.replace("blocks.0.", "blocks.1.")] = tensors[name]
    torch.save(tensors, tmp_path / "a.pth")
    out = tmp_path / "ours.safetensors"
    assert main(["convert", str(tmp_path / "a.pth"), str(out)]) == 0
    ours, theirs = load(out).state_dict(), load(tmp_path / "a.pth").state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items()) and ours.keys() == theirs.keys()
