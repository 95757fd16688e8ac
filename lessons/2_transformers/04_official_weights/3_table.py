"""A conversion table  (20 minutes, difficulty 3 of 5)

Write the table that turns the weights of a transformers ViT, as they lie
on the hub, into this project's names. A row is

    (reference name, our name)                    renamed only
    (reference name, our name, operation)         and changed
    (reference name, None, "why it is dropped")   known and dropped

`{i}` stands for the number of a block. `{query,key,value}` in a reference name
stands for three tensors that become one, in this order, with `STACK_ROWS`.

    theirs (b is vit.encoder.layer.{i})                   ours
    vit.embeddings.cls_token          (1, 1, D)       class_token (D)
    vit.embeddings.position_embeddings (1, 1+N, D)    pos (1+N, D)
    vit.embeddings.patch_embeddings.projection
        .weight (D, 3, p, p), .bias                   patch_proj (D, 3pp)
    b.layernorm_before                                blocks.{i}.norm1
    b.attention.attention.query, .key, .value         blocks.{i}.attn.qkv
    b.attention.output.dense                          blocks.{i}.attn.out_proj
    b.layernorm_after                                 blocks.{i}.norm2
    b.intermediate.dense                              blocks.{i}.mlp.fc1
    b.output.dense                                    blocks.{i}.mlp.fc2
    vit.layernorm                                     norm
    vit.pooler.dense                                  dropped
    classifier                                        head

Everything but the first two has a .weight and a .bias. The table is plain
Python: a loop over ("weight", "bias") saves half of the typing.
"""

from checkpoints_convert.tables.rules import FIRST, FIRST_FIRST, FLATTEN_KERNEL, STACK_ROWS

# %% solution
TABLE = [
    ("vit.embeddings.cls_token", "class_token", FIRST_FIRST),
    ("vit.embeddings.position_embeddings", "pos", FIRST),
    ("vit.embeddings.patch_embeddings.projection.weight", "patch_proj.weight", FLATTEN_KERNEL),
    ("vit.embeddings.patch_embeddings.projection.bias", "patch_proj.bias"),
] + [
    row
    for part in ("weight", "bias")
    for row in [
        (f"vit.encoder.layer.{{i}}.layernorm_before.{part}", f"blocks.{{i}}.norm1.{part}"),
        (
            f"vit.encoder.layer.{{i}}.attention.attention.{{query,key,value}}.{part}",
            f"blocks.{{i}}.attn.qkv.{part}",
            STACK_ROWS,
        ),
        (f"vit.encoder.layer.{{i}}.attention.output.dense.{part}", f"blocks.{{i}}.attn.out_proj.{part}"),
        (f"vit.encoder.layer.{{i}}.layernorm_after.{part}", f"blocks.{{i}}.norm2.{part}"),
        (f"vit.encoder.layer.{{i}}.intermediate.dense.{part}", f"blocks.{{i}}.mlp.fc1.{part}"),
        (f"vit.encoder.layer.{{i}}.output.dense.{part}", f"blocks.{{i}}.mlp.fc2.{part}"),
        (f"vit.layernorm.{part}", f"norm.{part}"),
        (f"vit.pooler.dense.{part}", None, "no class score passes it"),
        (f"classifier.{part}", f"head.{part}"),
    ]
]


# %% check: a table run on the names of transformers' ViT, against loops over the same names
import torch

from checkpoints_convert.tables.rules import TRANSPOSE, Table
from lessons.checker import Mistake, Task, Unusable


def cases(random):
    for dim, depth, size, patches in [(4, 2, 2, 6), (6, 11, 1, 4)]:
        yield {"tensors": checkpoint(random, dim, depth, size, patches)}


def checkpoint(random, dim, depth, size, patches):
    """Random weights by transformers' names; every width is D, so that a wrong row is found by its numbers."""
    tensors = {
        "vit.embeddings.cls_token": random(1, 1, dim),
        "vit.embeddings.position_embeddings": random(1, patches + 1, dim),
        "vit.embeddings.patch_embeddings.projection.weight": random(dim, 3, size, size),
        "vit.embeddings.patch_embeddings.projection.bias": random(dim),
    }
    square = ["attention.attention.query", "attention.attention.key", "attention.attention.value"]
    square += ["attention.output.dense", "intermediate.dense", "output.dense"]
    for i in range(depth):
        for name in ("layernorm_before", "layernorm_after"):
            tensors |= {f"vit.encoder.layer.{i}.{name}.{part}": random(dim) for part in ("weight", "bias")}
        for name in square:
            tensors[f"vit.encoder.layer.{i}.{name}.weight"] = random(dim, dim)
            tensors[f"vit.encoder.layer.{i}.{name}.bias"] = random(dim)
    for name, weight in [("vit.layernorm", (dim,)), ("vit.pooler.dense", (dim, dim)), ("classifier", (dim, dim))]:
        tensors |= {f"{name}.weight": random(*weight), f"{name}.bias": random(dim)}
    return tensors


def reference(tensors):
    ours = {
        "class_token": tensors["vit.embeddings.cls_token"][0, 0],
        "pos": tensors["vit.embeddings.position_embeddings"][0],
        "patch_proj.weight": tensors["vit.embeddings.patch_embeddings.projection.weight"].flatten(1),
        "patch_proj.bias": tensors["vit.embeddings.patch_embeddings.projection.bias"],
    }
    renamed = {"layernorm_before": "norm1", "attention.output.dense": "attn.out_proj", "layernorm_after": "norm2"}
    renamed |= {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}
    depth = sum("layernorm_before.weight" in name for name in tensors)
    for i in range(depth):
        theirs = f"vit.encoder.layer.{i}."
        for part in ("weight", "bias"):
            qkv = [tensors[f"{theirs}attention.attention.{one}.{part}"] for one in ("query", "key", "value")]
            ours[f"blocks.{i}.attn.qkv.{part}"] = torch.cat(qkv)
            ours |= {f"blocks.{i}.{mine}.{part}": tensors[f"{theirs}{name}.{part}"] for name, mine in renamed.items()}
    for part in ("weight", "bias"):
        ours |= {f"norm.{part}": tensors[f"vit.layernorm.{part}"], f"head.{part}": tensors[f"classifier.{part}"]}
    return ours


def convert(table, tensors):
    """Run what was handed in; what cannot be placed is told by name."""
    if not isinstance(table, list) or not all(isinstance(row, tuple) and len(row) in (2, 3) for row in table):
        raise Unusable("TABLE must be a list of rows, each a tuple of two or three things")
    if not table:
        raise NotImplementedError
    try:
        compiled = Table(table)
    except (AssertionError, TypeError, ValueError) as error:
        raise Unusable(f"a row cannot be read: {error}") from None
    converted = compiled.convert(tensors)
    if converted.problems:
        more = f" (and {len(converted.problems) - 4} more)" if len(converted.problems) > 4 else ""
        raise Unusable("; ".join(converted.problems[:4]) + more)
    return converted.tensors


def order(names):
    """The table with q, k and v stacked in another order."""
    return [(row[0].replace("{query,key,value}", names), *row[1:]) for row in TABLE]


def operations(**others):
    """The table with other operations, by our name (None: no operation)."""
    rows = []
    for row in TABLE:
        name = str(row[1]).replace(".", "_")
        rows.append((*row[:2], others[name]) if others.get(name) else row[:2] if name in others else row)
    return rows


def exchange(first, second):
    """Two of our names exchanged."""
    swap = {f"{a}.{part}": f"{b}.{part}" for a, b in ((first, second), (second, first)) for part in ("weight", "bias")}
    return [(row[0], swap.get(row[1], row[1]), *row[2:]) for row in TABLE]


MISTAKES = [
    Mistake("the table with key, query, value stacked in this order", order("{key,query,value}")),
    Mistake("the table with value, key, query stacked in this order", order("{value,key,query}")),
    Mistake("the table with norm1 and norm2 swapped", exchange("blocks.{i}.norm1", "blocks.{i}.norm2")),
    Mistake("the table with fc1 and fc2 swapped", exchange("blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc2"),
            fix="intermediate comes first: it is fc1."),
    Mistake("the table with attention's output and the MLP's output swapped",
            exchange("blocks.{i}.attn.out_proj", "blocks.{i}.mlp.fc2"),
            fix="attention.output.dense is out_proj, output.dense is fc2."),
    Mistake("the table with the patch kernel left as it is", operations(patch_proj_weight=None),
            fix="Add FLATTEN_KERNEL."),
    Mistake("the table with the batch of one left on class_token and pos", operations(class_token=None, pos=None),
            fix="FIRST_FIRST for the class token, FIRST for the positions."),
    Mistake("the table with FIRST where FIRST_FIRST is needed", operations(class_token=FIRST)),
    Mistake("the table with the head transposed", operations(head_weight=TRANSPOSE),
            fix="Both sides store a linear layer as (outputs, inputs)."),
]

TASKS = [
    Task("TABLE", cases, reference=reference, mistakes=MISTAKES, call=convert,
         like="the names and tensors of this project"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "The simplest rows first: `('vit.layernorm.weight', 'norm.weight')`. The check lists what is still missing."),
    ("Shapes with ones in front", "FIRST takes `tensor[0]`, `FIRST_FIRST` takes `tensor[0, 0]`."),
    ("q, k, v",
     "In theirs write `...attention.attention.{query,key,value}.weight`, in ours `blocks.{i}.attn.qkv.weight`, then "
     "`STACK_ROWS`; the same for the bias."),
    ("The patch projection", "Its weight is a kernel: `FLATTEN_KERNEL`. Its bias is only renamed."),
]
