"""The whole ViT, forward  (20 minutes, difficulty 3 of 5)

Everything together, with parts taken from a model of timm. `parts` is a
dict:

    "patch_size"    p
    "patch_proj"    a function (B, N, 3pp) -> (B, N, D); patches as in 2.3.1
    "class_token"   (D)
    "pos"           (1 + N, D)
    "blocks"        a list of functions (B, 1 + N, D) -> (B, 1 + N, D)
    "norm"          a function on tokens, used once, at the end
    "head"          a function (B, D) -> (B, classes), on the class token

Hand in {"embedded": tokens before the first block, "encoded": tokens after
the norm, "logits": class scores}, like timm's VisionTransformer.
"""

import torch
from einops import rearrange


# %% solution
def vit(image, parts):
    """image (B, 3, H, W) -> dict with embedded, encoded (B, 1 + N, D) and logits (B, classes)."""
    size = parts["patch_size"]
    patches = rearrange(image, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=size, pw=size)
    x = parts["patch_proj"](patches)
    first = parts["class_token"].expand(len(x), 1, -1)
    x = torch.cat([first, x], dim=1) + parts["pos"]
    embedded = x
    for block in parts["blocks"]:
        x = block(x)
    encoded = parts["norm"](x)
    return {"embedded": embedded, "encoded": encoded, "logits": parts["head"](encoded[:, 0])}


# %% check: a forward pass against timm's VisionTransformer
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from lessons.checker import Mistake, Task


def make_parts(random, height, width, size, dim, heads, depth):
    settings = {"patch_size": size, "embed_dim": dim, "depth": depth, "num_heads": heads, "num_classes": 5}
    model = VisionTransformer(img_size=(height, width), **settings).double().eval()
    for parameter in model.parameters():
        parameter.data = random(*parameter.shape) * 0.3
        parameter.requires_grad_(False)

    def patch_proj(patches):
        return F.linear(patches, model.patch_embed.proj.weight.flatten(1), model.patch_embed.proj.bias)

    patch_proj.model = model
    return {
        "patch_size": size,
        "patch_proj": patch_proj,
        "class_token": model.cls_token[0, 0],
        "pos": model.pos_embed[0],
        "blocks": [lambda x, block=block: block(x) for block in model.blocks],
        "norm": lambda x: model.norm(x),
        "head": lambda x: model.head(x),
    }


def cases(random):
    for batch, height, width, size, dim, heads, depth in [(2, 8, 12, 4, 6, 2, 2), (3, 6, 4, 2, 8, 4, 3)]:
        yield {
            "image": random(batch, 3, height, width),
            "parts": make_parts(random, height, width, size, dim, heads, depth),
        }


def reference(image, parts):
    model = parts["patch_proj"].model
    embedded = model._pos_embed(model.patch_embed(image))
    return {"embedded": embedded, "encoded": model.forward_features(image), "logits": model(image)}


def flawed(
    image,
    parts,
    inside="(c ph pw)",
    order="(h w)",
    end=False,
    use_pos=True,
    choose=lambda blocks: blocks,
    norm="end",
    pool=lambda x: x[:, 0],
):
    patches = rearrange(
        image, f"b c (h ph) (w pw) -> b {order} {inside}", ph=parts["patch_size"], pw=parts["patch_size"]
    )
    x = parts["patch_proj"](patches)
    first = parts["class_token"].expand(len(x), 1, -1)
    x = torch.cat([x, first] if end else [first, x], dim=1)
    x = embedded = x + parts["pos"] if use_pos else x
    x = parts["norm"](x) if norm == "before" else x
    for block in choose(parts["blocks"]):
        x = block(x)
        x = parts["norm"](x) if norm == "each" else x
    encoded = parts["norm"](x) if norm == "end" else x
    return {"embedded": embedded, "encoded": encoded, "logits": parts["head"](pool(encoded))}


MISTAKES = [
    Mistake("a ViT with patches in the order (ph pw c)", inside="(ph pw c)", fix="(c ph pw)."),
    Mistake("a ViT with patches counted down the columns", order="(w h)", fix="(h w): along a row first."),
    Mistake("a ViT with the class token at the end", end=True, fix="The class token comes first."),
    Mistake("a ViT without positions", use_pos=False),
    Mistake("a ViT without its last norm", norm="never", fix="Normalise the tokens before the head."),
    Mistake("a ViT normalised before the blocks instead of after them", norm="before"),
    Mistake("a ViT normalised after each block", norm="each", fix="One norm, at the end."),
    Mistake("a ViT that pools the mean of all tokens", pool=lambda x: x.mean(dim=1), fix="Pool x[:, 0]."),
    Mistake("a ViT that pools the last token", pool=lambda x: x[:, -1], fix="Pool x[:, 0], the class token."),
    Mistake("a ViT with its blocks in reverse order", choose=lambda blocks: blocks[::-1]),
    Mistake("a ViT that runs only its first block", choose=lambda blocks: blocks[:1]),
]

TASKS = [
    Task("vit", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("image",),
         like="timm's VisionTransformer"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "Five lines: patches, class token and positions, the loop over blocks, the norm, the head on token 0."),
    ("`embedded` is wrong", "Patches in the order (c ph pw), class token first, positions on all tokens."),
    ("`encoded` is wrong", "`x = block(x)` for each block in turn; one norm behind the last."),
    ("Only `logits` are wrong", "The head reads the class token of the normalised tokens: `encoded[:, 0]`."),
]
