"""A classifier out of templates  (15 minutes, difficulty 2 of 5)

Classes become weights by being written down. For each label: fill it into
every template (`"a photo of a {}."`), encode these texts, divide each
embedding by its length, take their mean, divide that by its length again
(Radford et al. 2021, section 3.1.4, "prompt ensembling"). Like
`build_zero_shot_classifier` of open_clip, one row a class.
"""

import torch


# %% solution
def make_classifier(labels, templates, encode_text):
    """Lists of C labels and T templates, a function from a list of texts to (texts, E) -> classifier (C, E)."""
    rows = []
    for label in labels:
        text = encode_text([template.format(label) for template in templates])  # (T, E)
        text = text / text.norm(dim=-1, keepdim=True)
        mean = text.mean(dim=0)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


# %% check: class weights against a loop over labels and templates
import hashlib

from lessons.checker import Mistake, Task


def encoder(random, dim):
    """A stand-in for a text tower: every text gets random numbers of its own, of several lengths."""
    seed = int(random.integers(0, 1000, 1))

    def encode_text(texts):
        if isinstance(texts, str):
            texts = [texts]
        rows = []
        for text in texts:
            number = int.from_bytes(hashlib.sha256(f"{seed}{text}".encode()).digest()[:4], "big")
            generator = torch.Generator().manual_seed(number)
            rows.append(torch.randn(dim, generator=generator, dtype=torch.float64) * (1 + number % 5))
        return torch.stack(rows)

    return encode_text


def cases(random):
    templates = ["a photo of a {}.", "a sticker of a {}.", "{}, seen from afar", "a blurry {}"]
    labels = ["dog", "red car", "cactus", "owl", "rocket"]
    for classes, count, dim in [(3, 2, 4), (5, 4, 6), (2, 1, 3), (4, 3, 8)]:
        yield {"labels": labels[:classes], "templates": templates[-count:], "encode_text": encoder(random, dim)}


def reference(labels, templates, encode_text):
    weights = []
    for label in labels:
        total = 0
        for template in templates:
            vector = encode_text([template.replace("{}", label)])[0]
            total = total + vector / vector.square().sum().sqrt()
        weights.append(total / total.square().sum().sqrt())
    return torch.stack(weights)


def flawed(
    labels, templates, encode_text, first=True, last=True, choose=lambda t: t, fill=str.format, axis=-1, turned=False
):
    rows = []
    for label in labels:
        text = encode_text([fill(template, label) for template in choose(templates)])
        text = text / text.norm(dim=axis, keepdim=True) if first else text
        mean = text.mean(dim=0)
        rows.append(mean / mean.norm() if last else mean)
    return torch.stack(rows, dim=1 if turned else 0)


def over_classes(labels, templates, encode_text):
    text = torch.stack([encode_text([template.format(label) for label in labels]) for template in templates])
    mean = (text / text.norm(dim=-1, keepdim=True)).mean(dim=1)
    return mean / mean.norm(dim=-1, keepdim=True)


MISTAKES = [
    Mistake("the classifier with embeddings not normalised before their mean: long ones weigh more", first=False),
    Mistake("the classifier with its means not normalised", last=False, fix="Divide each mean by its length again."),
    Mistake("the classifier of embeddings that were never normalised", first=False, last=False),
    Mistake("the classifier of the first template alone", choose=lambda t: t[:1]),
    Mistake("the classifier of templates that were not filled in: every class is the same", fill=lambda t, label: t),
    Mistake("the classifier of the labels alone, without templates", fill=lambda t, label: label),
    Mistake("the classifier normalised along the templates", axis=0, fix="norm(dim=-1): each text by its own length."),
    Mistake("the classifier transposed: (E, C)", turned=True, fix="One row a class here."),
    Mistake("one row for each template: the mean went over the classes", over_classes,
            fix="The mean runs over templates."),
]

TASKS = [
    Task("make_classifier", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="open_clip's recipe, looped"),
]


# %% hints
HINTS = [
    ("How to fill a template", "`template.format(label)` puts the label where the `{}` is."),
    ("Off by a little", "Normalise twice: each text's embedding before the mean, and the mean itself."),
    ("(C, T, E) or (T, E) comes out", "The mean runs over the templates; stack one row for each label."),
]
