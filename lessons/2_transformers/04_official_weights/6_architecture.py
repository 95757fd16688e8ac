"""Read the architecture off the tensors  (15 minutes, difficulty 2 of 5)

A checkpoint tells how its model was built. Given converted tensors by this
project's names, find

    "embed_dim"      D
    "depth"          the number of blocks
    "mlp_dim"        hidden width of the MLP
    "patch_size"     p, from patch_proj.weight (D, 3 * p * p)
    "num_patches"    N, from pos (1 + N, D): there is a class token
    "num_classes"    from head.weight (classes, D)

all of them whole numbers (int). Names look like
`blocks.11.attn.qkv.weight` (3D, D) and `blocks.0.mlp.fc1.weight` (`mlp_dim`, D).
"""

import torch


# %% solution
def read_architecture(tensors):
    """{name: tensor} -> dict of six whole numbers."""
    embed_dim, patch_numbers = tensors["patch_proj.weight"].shape
    numbers = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
    return {
        "embed_dim": embed_dim,
        "depth": len(numbers),
        "mlp_dim": tensors["blocks.0.mlp.fc1.weight"].shape[0],
        "patch_size": round((patch_numbers / 3) ** 0.5),
        "num_patches": len(tensors["pos"]) - 1,
        "num_classes": len(tensors["head.weight"]),
    }


# %% check: sizes read off tensors against the sizes the tensors were made with
from lessons.checker import Mistake, Task


def cases(random):
    for sizes in [(6, 2, 24, 2, 4, 5), (48, 12, 10, 4, 6, 3), (4, 1, 16, 3, 9, 7), (5, 3, 20, 14, 2, 11)]:
        yield {"tensors": make_tensors(*sizes)}


def make_tensors(embed_dim, depth, mlp_dim, patch_size, num_patches, num_classes):
    """Empty tensors by our names (numbers do not matter here); the sizes stand on the dict for the reference."""
    shapes = {
        "patch_proj.weight": (embed_dim, 3 * patch_size**2),
        "patch_proj.bias": (embed_dim,),
        "class_token": (embed_dim,),
        "pos": (num_patches + 1, embed_dim),
    }
    for i in range(depth):
        shapes[f"blocks.{i}.norm1.weight"] = (embed_dim,)
        shapes[f"blocks.{i}.attn.qkv.weight"] = (3 * embed_dim, embed_dim)
        shapes[f"blocks.{i}.mlp.fc1.weight"] = (mlp_dim, embed_dim)
        shapes[f"blocks.{i}.mlp.fc2.weight"] = (embed_dim, mlp_dim)
    shapes |= {"norm.weight": (embed_dim,), "head.weight": (num_classes, embed_dim), "head.bias": (num_classes,)}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def reference(tensors):
    depth = 0
    while f"blocks.{depth}.norm1.weight" in tensors:
        depth += 1
    columns = tensors["patch_proj.weight"].shape[1]
    return {
        "embed_dim": tensors["norm.weight"].numel(),
        "depth": depth,
        "mlp_dim": tensors["blocks.0.mlp.fc2.weight"].shape[1],
        "patch_size": next(side for side in range(1, 100) if 3 * side * side == columns),
        "num_patches": tensors["pos"].shape[0] - 1,
        "num_classes": tensors["head.bias"].numel(),
    }


def change(**wrong):
    """The right answer with some entries replaced by functions of the tensors."""
    return lambda tensors: reference(tensors) | {name: function(tensors) for name, function in wrong.items()}


def block_names(tensors):
    return [name.split(".")[1] for name in tensors if name.startswith("blocks.")]


MISTAKES = [
    Mistake("sizes with the highest block number as depth: blocks are counted from 0",
            change(depth=lambda t: max(map(int, block_names(t))))),
    Mistake("sizes with block numbers compared as text: '9' is larger than '11'",
            change(depth=lambda t: int(max(block_names(t))) + 1), fix="int(...) first."),
    Mistake("sizes with every tensor of a block counted as a block", change(depth=lambda t: len(block_names(t)))),
    Mistake("sizes with the class token counted as a patch", change(num_patches=lambda t: len(t["pos"])),
            fix="Minus one."),
    Mistake("sizes with the root of all 3 p p columns as patch size",
            change(patch_size=lambda t: round(t["patch_proj.weight"].shape[1] ** 0.5)),
            fix="Divide by the three colours first."),
    Mistake("sizes with the columns of patch_proj as embed_dim",
            change(embed_dim=lambda t: t["patch_proj.weight"].shape[1]),
            fix="A linear layer is stored as (outputs, inputs)."),
    Mistake("sizes with the inputs of fc1 as mlp_dim", change(mlp_dim=lambda t: t["blocks.0.mlp.fc1.weight"].shape[1])),
    Mistake("sizes with the inputs of the head as num_classes",
            change(num_classes=lambda t: t["head.weight"].shape[1])),
]

TASKS = [
    Task("read_architecture", cases, reference=reference, mistakes=MISTAKES,
         like="the sizes the tensors were made with"),
]


# %% hints
HINTS = [
    ("The depth",
     "Collect the number after 'blocks.' of every name, as int: as text '9' is larger than '11'. The first block is "
     "0."),
    ("The patch size", "Three colours: 3 * p * p columns. `round(...)` makes a whole number of a root."),
    ("One patch too many", "pos has a row for the class token."),
]
