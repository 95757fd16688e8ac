"""What reports share, and how a CLIP is measured: zero-shot accuracy, retrieval, the choice between two captions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.stickers.captions import with_article
from lessons.stickers.exams import Pairs, Singles
from lessons.stickers.sheet import CLASSES
from minimodels.clip import trim
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess
from minimodels.stored import models

TEMPLATES = ("{}", "small {}", "big {}")
_CLIP = CLIPPreprocess(64)
MEAN, STD = (torch.tensor(numbers).view(3, 1, 1) for numbers in (_CLIP.mean, _CLIP.std))


def open_weights(path: Path, kind: type[nn.Module], device: str | torch.device) -> Any:
    """A trained model from its file, in eval mode.

    Raises:
        UserError: there is none, or it is another kind of model.
    """
    model = models.open_file(path, device=device)
    if not isinstance(model, kind):
        raise UserError(f"{path} holds a {type(model).__name__}; what is measured here is a {kind.__name__}")
    return model


def normalized(images: np.ndarray, preprocess: Any = _CLIP) -> Tensor:
    """Pictures (B, H, W, 3) uint8 as a model reads them: (B, 3, H, W) float32, mean and std of its preprocess."""
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (preprocess.mean, preprocess.std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std


@torch.no_grad()
def embed_images(model, images: np.ndarray, piece: int = 128) -> Tensor:
    """Unit vectors (N, E) of pictures (N, H, W, 3) uint8; CLIP's mean and std where the model tells no other."""
    device, preprocess = next(model.parameters()).device, getattr(model, "preprocess", _CLIP)
    parts = (normalized(images[n : n + piece], preprocess).to(device) for n in range(0, len(images), piece))
    return torch.cat([F.normalize(model.encode_image(part), dim=-1) for part in parts])


@torch.no_grad()
def embed_texts(model, tokenize, texts: list[str], piece: int = 256) -> Tensor:
    """Unit vectors (T, E) of texts."""
    device = next(model.parameters()).device
    cut = getattr(model, "trim", trim)
    parts = (cut(tokenize(texts[n : n + piece])).to(device) for n in range(0, len(texts), piece))
    return torch.cat([F.normalize(model.encode_text(part), dim=-1) for part in parts])


def class_vectors(model, tokenize, names=CLASSES, templates=TEMPLATES) -> Tensor:
    """One unit vector a name (T, E): the mean over the templates, as in Radford et al. 2021, section 3.1.4."""
    texts = [with_article(template.format(name)) for name in names for template in templates]
    vectors = embed_texts(model, tokenize, texts).unflatten(0, (len(names), len(templates)))  # (T, templates, E)
    return F.normalize(vectors.mean(dim=1), dim=-1)


def zero_shot(model, tokenize, exam: Singles, templates=TEMPLATES) -> Tensor:
    """For each picture whether its class is the nearest of the 64: (N,) bool."""
    answers = (embed_images(model, exam.images) @ class_vectors(model, tokenize, templates=templates).T).argmax(dim=1)
    return answers.cpu() == torch.from_numpy(exam.kinds)


def retrieval_ranks(model, tokenize, exam: Pairs) -> Tensor:
    """For each caption how many wrong pictures lie as near as its own or nearer: (N,), 0 is a hit."""
    scores = embed_texts(model, tokenize, exam.captions) @ embed_images(model, exam.images).T  # (texts, pictures)
    return (scores >= scores.diag()[:, None]).sum(dim=1).cpu() - 1


def right_caption_wins(model, tokenize, exam: Pairs) -> Tensor:
    """For each picture whether its caption lies nearer than the swapped one: (N,) bool; chance is one half."""
    image = embed_images(model, exam.images)
    right, wrong = (embed_texts(model, tokenize, texts) for texts in (exam.captions, exam.swapped))
    return ((image * right).sum(1) > (image * wrong).sum(1)).cpu()
