"""What all measurements share: pictures, captions and models full of small random numbers (speed does not see them)."""

import torch
from torch import Tensor

CAPTIONS = [
    "a photo of a cat",
    "a dog running along the beach with a red ball in its mouth",
    "two people ride bicycles down a narrow street in an old town",
    "a plate of food on a wooden table next to a glass of water",
]


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """An empty (meta) model with memory and small random weights."""
    model = model.to_empty(device="cpu").eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(std=0.02)
    return model


def picture(size: int, batch: int = 1) -> Tensor:
    """Random pictures."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def captions(count: int) -> Tensor:
    """Ordinary captions as CLIP's ids, (count, 77)."""
    from minimodels.words.byte_pair import BytePairTokenizer

    return BytePairTokenizer.clip()([CAPTIONS[number % len(CAPTIONS)] for number in range(count)])
