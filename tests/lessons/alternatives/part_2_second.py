"""Other right answers to the exercises of lessons 2.3 and 2.4."""

import torch
import torch.nn.functional as F

from checkpoints_convert.tables.rules import FIRST, FIRST_FIRST, FLATTEN_KERNEL, STACK_ROWS
from tests.lessons.alternatives import hand_in, honest


# ---------------------------------------------------------------- 2.3
@honest("2.3.1")
def patchify(image, patch_size):
    batch, channels, height, width = image.shape
    h, w, p = height // patch_size, width // patch_size, patch_size
    return image.view(batch, channels, h, p, w, p).permute(0, 2, 4, 1, 3, 5).reshape(batch, h * w, -1)


@honest("2.3.1")
def patchify__loops(image, patch_size):
    p, patches = patch_size, []
    for top in range(0, image.shape[2], p):
        for left in range(0, image.shape[3], p):
            patches.append(image[:, :, top : top + p, left : left + p].flatten(1))
    return torch.stack(patches, dim=1)


@honest("2.3.2")
def unpatchify(patches, patch_size, height, width):
    p = patch_size
    image = patches.new_zeros(len(patches), patches.shape[2] // p**2, height, width)
    for number in range(patches.shape[1]):
        top, left = number // (width // p) * p, number % (width // p) * p
        image[:, :, top : top + p, left : left + p] = patches[:, number].reshape(len(patches), -1, p, p)
    return image


@honest("2.3.3")
def add_class_token(patches, class_token, pos):
    tokens = F.pad(patches, (0, 0, 1, 0))
    first = torch.zeros(tokens.shape[1], 1, dtype=patches.dtype)
    first[0] = 1
    return tokens + first * class_token + pos


@honest("2.3.4")
def resize_positions(pos, grid, new_grid):
    table = pos[1:].reshape(1, *grid, -1).permute(0, 3, 1, 2)
    table = torch.nn.Upsample(size=new_grid, mode="bicubic", align_corners=False)(table)
    return torch.vstack([pos[0:1], table.flatten(2)[0].T])


@honest("2.3.5")
def project_patches(image, kernel, bias):
    p = kernel.shape[-1]
    windows = torch.stack(torch.stack(image.split(p, dim=3), 2).split(p, dim=3), 2)  # (B, C, h, w, p, p)
    return torch.einsum("bchwij,dcij->bhwd", windows, kernel).flatten(1, 2) + bias


@honest("2.3.6")
def vit(image, parts):
    p = parts["patch_size"]
    squares = image.unfold(2, p, p).unfold(3, p, p)  # (B, 3, h, w, p, p)
    patches = squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    tokens = parts["patch_proj"](patches) + parts["pos"][1:]
    first = (parts["class_token"] + parts["pos"][0]).repeat(len(image), 1)[:, None]
    tokens = embedded = torch.cat([first, tokens], 1)
    for block in parts["blocks"]:
        tokens = block(tokens)
    logits = parts["head"](parts["norm"](tokens[:, 0]))
    return {"logits": logits, "encoded": parts["norm"](tokens), "embedded": embedded}


# ---------------------------------------------------------------- 2.4
@honest("2.4.1")
def stack_qkv(query, key, value):
    return torch.concatenate((query, key, value), dim=0)


@honest("2.4.1")
def split_qkv(stacked):
    dim = stacked.shape[0] // 3
    return [stacked[:dim], stacked[dim : 2 * dim], stacked[2 * dim :]]


@honest("2.4.2")
def flatten_kernel(kernel):
    return kernel.view(kernel.shape[0], -1)


@honest("2.4.2")
def unflatten_kernel(matrix, channels):
    side = int((matrix.shape[1] // channels) ** 0.5 + 0.5)
    return matrix.unflatten(1, (channels, side, side))


NAMES = """
layernorm_before norm1 | attention.output.dense attn.out_proj | layernorm_after norm2
intermediate.dense mlp.fc1 | output.dense mlp.fc2
"""
ROWS = [
    ("classifier.bias", "head.bias"),
    ("classifier.weight", "head.weight"),
    ("vit.layernorm.weight", "norm.weight"),
    ("vit.layernorm.bias", "norm.bias"),
    ("vit.pooler.dense.{weight,bias}", None, "not used by the classifier"),
    ("vit.embeddings.position_embeddings", "pos", FIRST),
    ("vit.embeddings.cls_token", "class_token", FIRST_FIRST),
    ("vit.embeddings.patch_embeddings.projection.weight", "patch_proj.weight", FLATTEN_KERNEL),
    ("vit.embeddings.patch_embeddings.projection.bias", "patch_proj.bias"),
]
BLOCK = "vit.encoder.layer.{i}."
ROWS += [
    (BLOCK + "attention.attention.{query,key,value}.weight", "blocks.{i}.attn.qkv.weight", STACK_ROWS),
    (BLOCK + "attention.attention.{query,key,value}.bias", "blocks.{i}.attn.qkv.bias", STACK_ROWS),
]
for pair in NAMES.replace("\n", "|").split("|"):
    if pair.strip():
        theirs, ours = pair.split()
        ROWS += [(f"{BLOCK}{theirs}.{end}", f"blocks.{{i}}.{ours}.{end}") for end in ("bias", "weight")]
hand_in("2.4.3", "TABLE", ROWS)


@honest("2.4.4")
def compare_names(checkpoint, model):
    theirs, ours = set(checkpoint), set(model)
    wrong = [name for name in theirs & ours if list(checkpoint[name].size()) != list(model[name].size())]
    return {"misshapen": sorted(wrong), "unexpected": sorted(theirs - ours), "missing": sorted(ours - theirs)}


@honest("2.4.5")
def compare_outputs(ours, theirs, tolerance):
    worst, equal = 0.0, True
    for mine, other in zip(ours.flatten().tolist(), theirs.flatten().tolist()):
        gap = abs(mine - other)
        worst = gap if gap != gap or gap > worst else worst
        equal = equal and gap <= tolerance + tolerance * abs(other)
        if gap != gap:
            return {"equal": False, "largest": float("nan")}
    return {"equal": equal, "largest": worst}


@honest("2.4.6")
def read_architecture(tensors):
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    weight = tensors["patch_proj.weight"]
    sides = [p for p in range(1, 65) if 3 * p * p == weight.size(1)]
    return {
        "num_classes": tensors["head.bias"].size(0),
        "num_patches": tensors["pos"].size(0) - 1,
        "patch_size": sides[0],
        "mlp_dim": tensors["blocks.0.mlp.fc2.weight"].size(1),
        "depth": depth,
        "embed_dim": weight.size(0),
    }
