"""A CLIP of two ready encoders: two small heads and soft targets

You have a network that knows pictures and another that knows sentences. They were trained apart, by others, for other
things. What does it take to make a CLIP of them? This page follows a teaching model that many people started with: two
small heads, a loss in which pairs that are alike share the answer, and the choice which encoder may still learn.

nav: Two ready encoders
minutes: 15
needs: 2.7, 3.3
paper: none; a teaching repository, [moein-shariatnia/OpenAI-CLIP](https://github.com/moein-shariatnia/OpenAI-CLIP) (MIT licence)
code: minimodels/projected_clip.py
"""

# %% [markdown]
# ## Two heads
#
# The image encoder is a ResNet-50 or a ViT without its classifier, the text encoder a DistilBERT, of which the token
# [CLS] is read. Their features have different widths and nothing to do with each other. A head leads each of them to
# a shared space of $E = 256$ numbers:

# %% fold="The code of this drawing"
from lessons.book.diagrams import Drawing, Table, show

drawing = Drawing(
    600,
    170,
    "Pictures go through a ready image encoder and a head, texts through a "
    "ready text encoder and a head; products of both make a table of logits",
)
picture = drawing.box(5, 15, 85, 46, "pictures")
text = drawing.box(5, 105, 85, 46, "texts")
see = drawing.box(
    120, 15, 125, 46, "image encoder", "ResNet or ViT", tone="grey"
)
read = drawing.box(
    120, 105, 125, 46, "text encoder", "DistilBERT", tone="grey"
)
left = drawing.box(285, 15, 85, 46, "head", "D to 256", tone="blue")
right = drawing.box(285, 105, 85, 46, "head", "768 to 256", tone="rust")
logits = drawing.box(
    445, 60, 130, 46, "products", "(texts, pictures)", tone="green"
)
drawing.arrow(picture, see)
drawing.arrow(text, read)
drawing.arrow(see, left)
drawing.arrow(read, right)
drawing.arrow(left, logits)
drawing.arrow(right, logits)
show(drawing)

# %% [markdown]
# ::source minimodels.projected_clip.ProjectionHead.forward nodoc
#
# The shortcut starts *before* the GELU, and the LayerNorm comes last. There is no learned scale as in [[3.2]], and in
# training nothing is made a unit vector: the logits are products of the embeddings as they are.
#
# ::predict answer="{=length:.0f}"
#     At the start of training a LayerNorm has gain 1 and offset 0. How long is an embedding of 256 numbers?
#
#     ---
#     Each number has variance 1, so the squared length is 256: every embedding is {=length:.0f} long, whatever the
#     picture. Its product with itself is 256.

# %%
import torch

import minimodels
from lessons.stickers import exams
from lessons.stickers.splits import TEST
from lessons.train.measures import normalized
from minimodels.projected_clip import ProjectionHead

torch.manual_seed(0)
head = ProjectionHead(128, 256).eval()
with torch.no_grad():
    lengths = head(torch.randn(1000, 128)).norm(dim=-1)
length = lengths.mean().item()
print(
    f"lengths of 1,000 embeddings: {lengths.min():.2f} to {lengths.max():.2f}"
)

model = minimodels.load("tiny-projected-clip")
numbers = {
    "image encoder": model.image_tower.encoder,
    "its head": model.image_tower.proj,
    "text encoder": model.text_tower.encoder,
    "its head ": model.text_tower.proj,
}
for name, part in numbers.items():
    print(f"{name:14} {sum(p.numel() for p in part.parameters()):9,} numbers")

# %% [markdown]
# `tiny-projected-clip` is the book's own: its image encoder is `tiny-vit`, which had learned the stickers' names before
# ([[2.3]]). The book has no small DistilBERT that is ready, so this one learned to read from nothing; the vocabulary is
# the words of the captions.
#
# ## Soft targets
#
# In CLIP's loss ([[3.3]]) each text has exactly one right picture in the batch. But a batch may hold two pictures of a
# dog, both with the caption "a dog". Here the answer is shared: as much as the pictures are alike, and the texts.
#
# $$
# \text{logits} = \frac{T I^\top}{\tau}, \qquad
# \text{targets} = \operatorname{softmax}\!\left(\frac{I I^\top + T T^\top}{2} \cdot \tau\right)
# $$
#
# ::source minimodels.projected_clip.soft_target_loss nodoc
#
# Three dogs and three cats, small to big, each captioned with its name alone. What does the trained model share?

# %% alt="Two tables of six by six. On the left, of CLIP's targets, only the diagonal is filled. On the right, of the soft targets, the first three rows share among the first three columns and the last three among the last three; most stays on the diagonal, and neighbours in size get a part." caption="Targets of six pairs: CLIP's (left) and the soft ones (right), in percent. Rows are texts, columns pictures."
import matplotlib.pyplot as plt

from lessons.stickers.sheet import CLASSES

exam = exams.singles(TEST, rounds=1)
chosen = [
    n
    for name in ("dog", "cat")
    for n in range(len(exam.kinds))
    if CLASSES[exam.kinds[n]] == name
]
captions = [f"a {CLASSES[exam.kinds[n]]}" for n in chosen]
with torch.no_grad():
    I = model.encode_image(normalized(exam.images[chosen]))  # (6, 256)
    T = model.encode_text(model.trim(model.tokenize(captions)))  # (6, 256)
targets = ((I @ I.T + T @ T.T) / 2).softmax(dim=-1)  # (6, 6)

figure, axes = plt.subplots(1, 2, figsize=(6.2, 3.2), layout="constrained")
for axis, table in zip(axes, (torch.eye(6), targets)):
    axis.imshow(table, vmin=0, vmax=1, cmap="Greens")
    for row, column in ((r, c) for r in range(6) for c in range(6)):
        share = table[row, column].item()
        if share >= 0.0005:
            axis.text(
                column,
                row,
                f"{share:.1%}".replace("%", ""),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.6 else "black",
            )
    axis.set_xticks(range(6), ["dog"] * 3 + ["cat"] * 3, fontsize=8)
    axis.set_yticks(range(6), captions, fontsize=8)
plt.show()

# %%
shared = 1 - targets.diagonal()
print("given away to other pairs:", " ".join(f"{s:.1%}" for s in shared))
print("between dogs and cats: at most", f"{targets[:3, 3:].max():.0e}")

# %% [markdown]
# The captions of the three dogs are equal, so their texts share all they can; what keeps the rows apart is that a small
# dog is not quite the same picture as a big one. In a batch of rich captions, each of another scene, almost nothing is
# shared: differences of products are large numbers, and a softmax makes one-hot rows of them.

# %%
pairs = exams.captioned(TEST, 128, start=800_000)
with torch.no_grad():
    I = model.encode_image(normalized(pairs.images))
    T = model.encode_text(model.trim(model.tokenize(pairs.captions)))


def soft_targets(temperature):
    """The targets of these 128 pairs."""
    return ((I @ I.T + T @ T.T) / 2 * temperature).softmax(dim=-1)


rows = []
for temperature in (1.0, 0.3, 0.1, 0.03):
    targets = soft_targets(temperature)
    columns = targets.sum(dim=0)
    logits = (T @ I.T / temperature).softmax(dim=-1)
    rows.append(
        [
            f"{temperature}",
            f"{targets.diagonal().mean():.1%}",
            f"{logits.diagonal().mean():.1%}",
            f"{columns.min():.2f} to {columns.max():.2f}",
        ]
    )
show(
    Table(
        [
            "temperature",
            "own share, targets",
            "own share, logits",
            "sums of columns",
        ],
        rows,
    )
)
own, least = (
    soft_targets(1.0).diagonal().mean().item(),
    soft_targets(0.03).sum(dim=0).min().item(),
)

# %% [markdown]
# Two oddities of the released loss show in this table. First, the temperature *divides* the logits and *multiplies* the
# similarities: a lower one makes the logits sharper and the targets softer, so that they part. At 1.0, the value of the
# released code, it makes no difference, and {=own:.1%} of each target lies on the own pair.
#
# Second, the pictures' half of the loss takes `targets.T`. The softmax ran along the rows; the rows of the *transposed*
# table are its columns, and their sums are not one: at a temperature of 0.03 a picture's targets add up to as little as
# {=least:.2f}. Such a row is no distribution, and the picture simply counts less. Whoever "repairs" this trains another
# model (3.13.3).
#
# ## Which encoder to freeze
#
# A ready encoder may be frozen: nothing of it changes, and only the rest learns. That is faster, and keeps what it knew.
# The released code's `config.py` freezes both.
#
# ::predict
#     Five short trainings of {=steps} steps: nothing frozen; the ready image encoder frozen; the text encoder frozen,
#     which was never trained; both; and nothing frozen, but with CLIP's own loss. Put them in order of the share of
#     texts that find their picture among 1,000.
#
#     ---
#     A frozen encoder has to know what the others need. tiny-vit knows the stickers' names and little of their places
#     or the ground they stand on; it pays to let it learn on. A text encoder that never learned to read gives its head
#     nothing to choose from.

# %% fold="The code of this table"
import json
from pathlib import Path

from lessons.train.projected_clip import settings

told = json.loads(Path(settings.FILE).read_text("utf-8"))
steps, seeds = told["steps"], len({run["seed"] for run in told["runs"]})
names = {
    ("soft", "none"): "soft targets, nothing frozen",
    ("soft", "image"): "image encoder frozen (ready)",
    ("soft", "text"): "text encoder frozen (untrained)",
    ("soft", "both"): "both frozen",
    ("clip", "none"): "CLIP's own loss, nothing frozen",
}
rows = []
for (loss, frozen), name in names.items():
    runs = [
        r for r in told["runs"] if (r["loss"], r["freeze"]) == (loss, frozen)
    ]
    found = [r["recall_at_1"] for r in runs]
    seconds = sum(r["seconds"] for r in runs) / len(runs)
    rows.append(
        [
            name,
            f"{runs[0]['learns']:,}",
            f"{seconds:.0f}",
            f"{sum(found) / len(found):.1%}",
            f"{100 * min(found):.1f}-{max(found):.1%}",
        ]
    )
show(
    Table(
        [
            "setting",
            "numbers that learn",
            "seconds",
            "R@1 of 1,000",
            f"{seeds} seeds",
        ],
        rows,
    )
)

# %% [markdown]
# Short trainings of {=steps} steps of {=told["batch"]} pairs, from `python -m lessons.train.projected_clip.settings`;
# measured on {=told["count"]:,} unseen scenes, the mean and the spread over {=seeds} seeds. Freezing what is ready costs a
# part of the answers and saves half the time. Freezing what is not ready costs everything: a projection cannot read.
# "Frozen" helps only where there was something to keep.
#
# The last row is not what one might hope for: with the same pairs and steps CLIP's own loss finds more. One difference
# stands at the very beginning. Guessing among {=len(I)} costs $\ln$ {=len(I)} = {=guess:.1f}. CLIP's loss begins near it;
# products of vectors of length 16 are large numbers, and the loss with soft targets begins far above:

# %%
import math

from lessons.train import loop
from lessons.train.projected_clip.trainer import Trainer
from minimodels.projected_clip import clip_loss, soft_target_loss

fresh = Trainer(loop.Settings(steps=1, batch=128))
model_before = fresh.model.eval()
with torch.no_grad():
    images = model_before.encode_image(normalized(pairs.images))
    texts = model_before.encode_text(
        model_before.trim(fresh.tokenizer(pairs.captions))
    )
guess = math.log(len(images))
print(f"guessing                      {guess:.1f}")
print(f"CLIP's own loss, first step   {clip_loss(images, texts):.1f}")
print(f"soft targets, first step      {soft_target_loss(images, texts):.1f}")

# %% [markdown]
# A good part of a short training goes into bringing that down. With time it hardly matters; this is the run that made
# the book's model:

# %% alt="The loss of the run against its steps, on a logarithmic scale: it falls from almost 5 in the first 150 steps to 0.02 after 1,800. A second curve, the share of texts that find their picture among 500, rises from 84 to 99.6 percent." caption="The run that made tiny-projected-clip: one run, the mean loss of each 150 steps, and R@1 of 500 on validation scenes."
from minimodels.stored import embedded

log = embedded.log("tiny-projected-clip")["log"]
figure, axis = plt.subplots(figsize=(5.4, 2.6), layout="constrained")
axis.semilogy(
    [line["step"] for line in log],
    [line["loss"] for line in log],
    label="loss",
)
axis.set(xlabel="step", ylabel="loss")
beside = axis.twinx()
beside.plot(
    [line["step"] for line in log],
    [line["recall_at_1"] for line in log],
    "--",
    color="#b4531a",
    label="R@1 of 500",
)
beside.set(ylabel="R@1", ylim=(0.8, 1))
figure.legend(loc="center right", bbox_to_anchor=(0.85, 0.5))
plt.show()

# %% [markdown]
# ## Matching and search
#
# A common way to show such a model: a picture and four descriptions. In a search both sides *are* made unit
# vectors, although training never did that.

# %% alt="A sticker scene, and beside it four descriptions with bars: the right one has the highest cosine." caption="One unseen scene, four descriptions, and the cosines of tiny-projected-clip; the first is the right one."
import torch.nn.functional as F

from lessons.train.projected_clip import descriptions, report

fours = descriptions.one_word_differs(TEST, 4)
number = 1
with torch.no_grad():
    image = model.encode_image(normalized(fours.images[number : number + 1]))
    texts = model.encode_text(
        model.trim(model.tokenize(list(fours.descriptions[number])))
    )
cosines = (F.normalize(image, dim=-1) @ F.normalize(texts, dim=-1).T)[0]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(6.4, 2), width_ratios=(1, 1.6), layout="constrained"
)
left.imshow(fours.images[number])
left.axis("off")
bars = right.barh(
    range(4), cosines, color=["#3f7d4e", "#808890", "#808890", "#808890"]
)
right.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
right.set_yticks(range(4), fours.descriptions[number], fontsize=8)
right.set(xlim=(0, 1.15))
right.invert_yaxis()
plt.show()

# %% fold="The code of this table"
figures = {
    row["measure"]: row for row in embedded.figures("tiny-projected-clip")
}
shown = {
    "text to image, R@1 of 1000": "find one picture among 1,000",
    "the same, held-out combinations, R@1 of 1000": "the same, new pairs",
    "one of four descriptions": "one of four: of other scenes",
    "one of four that differ in one word": "one of four: one class differs",
    "zero-shot, own colours": "one sticker, 64 names",
    "zero-shot, recoloured": "one sticker in a colour not its own",
}
columns = (
    "tiny_projected_clip",
    "tiny_clip",
    "untrained",
    "colour_only",
    "chance",
)
rows = []
for measure, name in shown.items():
    row = figures[measure]
    rows.append(
        [
            name,
            f"{row[columns[0]]:.1%}",
            report.interval(row[columns[0]], row["count"]),
            *(f"{row[key]:.1%}" for key in columns[1:]),
        ]
    )
show(
    Table(
        [
            "question",
            "two encoders",
            "95 %",
            "tiny-clip",
            "untrained",
            "colours",
            "chance",
        ],
        rows,
    )
)
easy, hard = (
    figures["one of four descriptions"],
    figures["one of four that differ in one word"],
)

# %% [markdown]
# A thousand pictures each, of one sticker {=figures["zero-shot, own colours"]["count"]:,} and in another colour
# {=figures["zero-shot, recoloured"]["count"]:,}; the 95 % column is the interval of the share before it; one run of each model. *Colours* is an oracle: it knows which
# stickers each description means, with every shade of each, and takes the nearest histogram.
#
# One of four descriptions is the easiest exam of all: the oracle of colours answers {=easy["colour_only"]:.1%} of it too,
# so that a good answer shows little. Finding one picture among 1,000 takes far more than colours. And where two stickers come in colours of their own and one word names another class
# of the *same* colour, the model is right in {=hard["tiny_projected_clip"]:.1%} of the pictures; `tiny-clip`, which saw
# five times as many pictures, in {=hard["tiny_clip"]:.1%}. An oracle that knows every shade can tell even these.
#
# ::quiz
#     In the search, both embeddings are made unit vectors; in training they were not. What does that change here?
#
#     - [ ] Nothing, both orders are always the same :: They are the same only where all pictures' embeddings are equally
#       long.
#     - [x] Little, because the LayerNorm keeps lengths almost equal :: The last layer gives all pictures about the same
#       length, so that products and cosines order them almost alike.
#     - [ ] Everything, the scores are no longer comparable :: The scale is another one, the order hardly.

# %%
lengths = {"pictures": I.norm(dim=-1), "texts": T.norm(dim=-1)}
for name, values in lengths.items():
    print(f"{name:8} {values.min():.2f} to {values.max():.2f} long")
products = (T @ I.T).argmax(dim=1)
cosine = (F.normalize(T, dim=-1) @ F.normalize(I, dim=-1).T).argmax(dim=1)
agree = (products == cosine).float().mean().item()
print(f"the same best picture of 128 for {agree:.1%} of the texts")

# %% [markdown]
# ## With encoders of your own
#
# Two official files become one model before its training:
#
# ```python
# from checkpoints_convert.joining import join_encoders
#
# model = join_encoders("timm/resnet50.a1_in1k", "distilbert/distilbert-base-uncased")
# ```
#
# The encoders answer as they were trained to, the heads know nothing yet. A `best.pt` that the original code wrote is
# read and written by `checkpoints_convert` too; no such weights were ever published.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | the loss begins at 20 and more | as it should: products of long vectors. Smaller steps, or smaller batches |
# | nothing is learned at all | `config.py` of the original freezes both encoders, and neither is trained (`pretrained = False`) |
# | another model, though the code looks tidier | the targets were detached, or the transposed ones made to sum to one |
# | "... pieces, this text encoder has rows for ..." | the words beside the weights belong to another text encoder |
# | every name is recognised, all answers wrong | other mean and standard deviation: this model wants ImageNet's, ours CLIP's |
#
# ## The source, and the same lines in the libraries
#
# There is no paper. The original is a teaching repository for Flickr8k; its README trains both encoders on, with small
# steps for the ready ones, and its `config.py` freezes both. Its modules are **timm**'s ResNet-50 (or a ViT, whose
# patches it averages) and **transformers**' DistilBERT; ours are held against these two, put together by the original's
# names, and heads and loss against the original's own numbers. A library that joins two ready encoders with CLIP's own
# loss and a learned scale is transformers' `VisionTextDualEncoderModel`.
