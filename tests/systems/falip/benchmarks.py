"""FALIP on many boxes of one picture beside a whole pass for each box."""

import torch

from tests.benchmarks.measure import Run, Work

BOXES = [(12 * n, 8 * n, 12 * n + 60, 8 * n + 90) for n in range(16)]


def start() -> tuple:
    """ViT-B/16 with random weights, a picture and the masks of 16 boxes."""
    from minimodels.clip import CLIP
    from minimodels.falip import FoveatedCLIP, foveal_masks

    torch.manual_seed(0)
    model = FoveatedCLIP(CLIP(patch_size=16, text_depth=1).eval())
    return model, torch.randn(1, 3, 224, 224), foveal_masks(BOXES, (224, 300), 224, 16).float()


def ours() -> Run:
    model, image, masks = start()
    return lambda: model.encode_image(image, masks)


def whole_passes() -> Run:
    """All boxes as one batch through every block, the mask a matrix that all rows and heads share."""
    import torch.nn.functional as F

    model, image, masks = start()
    tower = model.clip.image_tower
    matrix = torch.zeros(len(masks), 1, masks.shape[1], masks.shape[1])
    matrix[:, 0, 0] = masks

    def run() -> object:
        x = tower.embed(image.expand(len(masks), -1, -1, -1))
        for number, block in enumerate(tower.blocks):
            q, k, v = block.attn.split_heads(block.norm1(x))
            added = matrix if number >= model.first_block else None
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=added)
            x = x + block.attn.out_proj(mixed.transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        return tower.proj(tower.norm_post(x[:, 0]))

    return run


WORKS = [
    Work(
        "FALIP ViT-B/16, 16 boxes in one picture",
        {"ours": ours, "a whole pass a box": whole_passes},
        bar=0.35,
        memory_bar=1.03,
        rounds=3,
        note="What no mask can change runs once: 8 of 12 blocks, and the patches in the ninth; the last block computes "
        "the class token alone. No library has FALIP: the other is the same model, each box a picture of a batch.",
    ),
]
