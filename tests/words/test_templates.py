"""Prompt templates: the sentence around a label."""

import pytest
import torch
from open_clip.zero_shot_metadata import SIMPLE_IMAGENET_TEMPLATES
from torch import nn

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.words.templates import (
    PHOTO,
    SEVEN,
    STICKERS,
    default_templates,
    fill,
    label_embeddings,
    sticker_model,
    with_article,
)


def test_the_seven_are_those_of_the_released_notebook():
    assert [fill(template, "dog") for template in SEVEN] == [theirs("dog") for theirs in SIMPLE_IMAGENET_TEMPLATES]
    assert [fill(template, "dog") for template in PHOTO] == ["a photo of a dog."]
    assert [fill(template, "owl") for template in STICKERS] == ["an owl", "a small owl", "a big owl"]


@pytest.mark.parametrize(
    "label, expected",
    [
        ("dog", "a dog"), ("owl", "an owl"), ("Owl", "an Owl"), ("Dog", "a Dog"), ("apple", "an apple"),
        ("egg", "an egg"), ("ice", "an ice"), ("umbrella", "an umbrella"), ("Umbrella", "an Umbrella"),
        ("a dog", "a dog"), ("an owl", "an owl"), ("the dog", "the dog"), ("The dog", "The dog"), ("A dog", "A dog"),
        ("An owl", "An owl"), ("animal", "an animal"), ("theatre", "a theatre"), ("", ""), (" ", " "),
        ("red car", "a red car"), ("yacht", "a yacht"),
    ],
)  # fmt: skip
def test_articles(label, expected):
    assert with_article(label) == expected


def test_braces_in_a_label_stay():
    assert fill("x {} y {}", "{a}") == "x {a} y {a}" and fill("{a} and {a}", "owl") == "an owl and an owl"
    assert fill("{} of {a}", "owl") == "owl of {a}", "the plain place wins"
    with pytest.raises(UserError, match="no place for the label"):
        fill("a photo", "dog")


def test_what_a_model_was_trained_on_says_how_to_ask_it():
    model = nn.Identity()
    assert not sticker_model(model) and default_templates(model) == PHOTO
    for trained_on, stickers in [
        ("Sticker World, split train", True),
        ("photographs of Sticker World", False),
        (5, False),
    ]:
        model.about = {"trained_on": trained_on}
        assert sticker_model(model) is stickers and default_templates(model) == (STICKERS if stickers else PHOTO)


class Ears(DualEncoder):
    """Embeds a text as a vector that depends on its ids; counts how many texts come at once."""

    def __init__(self):
        nn.Module.__init__(self)
        self.logit_scale = nn.Parameter(torch.tensor(0.0))
        self.asked = []

    def tokenize(self, texts, truncate):
        assert truncate
        return torch.tensor([[5, *map(ord, text.ljust(12)[:12]), 999] for text in texts])

    def encode_text(self, ids):
        self.asked.append(len(ids))
        return torch.stack([ids.double().sin().sum(dim=1), ids.double().cos().sum(dim=1), ids[:, 1].double()], dim=1)


@pytest.mark.parametrize("piece", [1, 2, 4, 5])
def test_embeddings_are_means_of_unit_vectors(piece):
    ears, labels, templates = Ears(), ["dog", "owl"], ("{}", "{a}")
    found = label_embeddings(ears, labels, templates, piece)
    assert max(ears.asked) == min(piece, 4) and sum(ears.asked) == 4
    for label, vector in zip(labels, found):
        texts = [fill(template, label) for template in templates]
        units = [v / v.norm() for v in ears.encode_text(ears.tokenize(texts, truncate=True))]
        mean = torch.stack(units).mean(dim=0)
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-12)
