"""Prompt templates: the sentence around a label (lesson 3.4).

CLIP was trained on captions, so a label is put into one: "dog" becomes "a photo of a dog." (Radford et al. 2021,
section 3.1.4). Several templates make an ensemble: their embeddings are averaged, which costs nothing once they are
computed.

In a template `{}` stands for the label as it is and `{a}` for the label with its article ("a dog", "an owl").
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minimodels.clip import DualEncoder
from minimodels.errors import UserError

STICKERS = ("{a}", "a small {}", "a big {}")  # as the captions of Sticker World speak
PHOTO = ("a photo of a {}.",)
# Seven of the eighty that the released CLIP used on ImageNet, chosen one after the other (its prompt notebook).
SEVEN = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def with_article(label: str) -> str:
    """ "a dog", "an owl"; a label that brings its own article keeps it."""
    words = label.split(maxsplit=1)
    if not words or words[0].lower() in ("a", "an", "the"):
        return label
    return f"{'an' if label[0].lower() in 'aeiou' else 'a'} {label}"


def fill(template: str, label: str) -> str:
    """Put a label into a template. Braces inside the label stay what they are.

    Raises:
        UserError: a template with no place for the label.
    """
    place = next((mark for mark in ("{}", "{a}") if mark in template), None)
    if place is None:
        raise UserError(f"the template {template!r} has no place for the label; write {{}} there: 'a photo of a {{}}.'")
    return template.replace(place, label if place == "{}" else with_article(label))


def sticker_model(model: torch.nn.Module) -> bool:
    """Whether a model was trained on Sticker World, as its file says; it then knows stickers and nothing else."""
    about = getattr(model, "about", {})
    return str(about.get("trained_on", "")).startswith("Sticker World")


def default_templates(model: torch.nn.Module) -> tuple[str, ...]:
    """Templates that speak like the captions a model was trained on."""
    return STICKERS if sticker_model(model) else PHOTO


@torch.no_grad()
def label_embeddings(
    model: DualEncoder, labels: Sequence[str], templates: Sequence[str], piece: int = 256
) -> Float[Tensor, "labels embed_dim"]:
    """One unit vector a label (L, E): the mean over the templates of unit vectors, made a unit vector again.

    A text longer than the model's context is cut.
    """
    texts = [fill(template, label) for label in labels for template in templates]
    device = model.logit_scale.device
    ids = [model.trim(part).to(device) for part in model.tokenize(texts, truncate=True).split(piece)]  # type: ignore[operator]
    vectors = torch.cat([F.normalize(model.encode_text(part), dim=-1) for part in ids])  # (L * templates, E)
    return F.normalize(vectors.unflatten(0, (len(labels), len(templates))).mean(dim=1), dim=-1)  # (L, E)
