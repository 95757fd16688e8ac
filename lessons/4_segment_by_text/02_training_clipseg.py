"""Training CLIPSeg: a frozen giant and a small reader

CLIP cost weeks on hundreds of GPUs. The decoder that reads it is small: ours was trained in a quarter of an hour on one
CPU core. What may change, what must not, what the decoder is asked, and why a fifth of the questions have the answer
"nothing". The figures are from the run that made the book's weights.

nav: Training CLIPSeg
minutes: 20
needs: 4.1, 3.3
paper: [Lueddecke and Ecker 2022](https://arxiv.org/abs/2112.10003), sections 4 and 5
code: lessons/train/clipseg/trainer.py
"""

# %% [markdown]
# ## What is frozen
#
# Everything that is CLIP. Gradients stop at the activations; the optimizer is given the decoder's numbers and no others.
#
# ::predict answer="{=share:.0%}"
#     tiny-clipseg stands on tiny-clip. Which share of all its numbers does training change?
#
#     ---
#     In the released rd64 models it is less than one in a hundred: 1.1 million beside 150 million. Such a file holds the
#     decoder only, 4 MB, and needs a CLIP beside it.

# %%
import torch

import minimodels

model = minimodels.load("tiny-clipseg")
trained = sum(p.numel() for p in model.decoder.parameters())
frozen = sum(p.numel() for p in model.clip.parameters())
share = trained / (trained + frozen)
print(f"decoder, trained: {trained:,}; CLIP, frozen: {frozen:,}")

clip = minimodels.load("tiny-clip")
same = all(
    torch.equal(ours, theirs)
    for ours, theirs in zip(
        model.clip.state_dict().values(), clip.state_dict().values()
    )
)
print("its CLIP is still tiny-clip, bit for bit:", same)

# %% [markdown]
# Freezing is more than thrift. CLIP's space of texts and pictures was learned from far more than any set of masks
# shows; a few thousand masks would pull it towards their own few words, and what no mask was drawn for would be
# forgotten. Frozen, the decoder may meet a word it was never trained with, and find what CLIP says about it.
#
# And it is thrift, too: no activations are kept for CLIP's backward pass, and texts are encoded once for the whole run.
#
# ::source lessons.train.clipseg.trainer.Trainer.step nodoc
#
# ## What is asked
#
# A picture is encoded once and asked four things. Here is one scene of the training set with its four questions:

# %% alt="A scene with several stickers, then four masks, each under the words that were asked: bright where what is asked shows, all dark where it is not there." caption="A training scene and four prompts with their targets. All dark means: not there."
from lessons.book.figures import gallery
from lessons.train.clipseg import data

number = 5
picture, asked = data.question(number)
titles = [one.text.replace(" of the ", "\nof the ") for one in asked]
figure = gallery(
    [picture, *[one.mask.astype(float) for one in asked]],
    ["scene", *titles],
    columns=5,
    cell=1.3,
    size=7.5,
)

# %% [markdown]
# The rule that draws them, which follows the paper's PhraseCut+ (phrases, pictures of the same thing, mixes of both, and
# things that are not there):
#
# ::source lessons.train.clipseg.data.asked_of nodoc
#
# Counted over the first 400 scenes:

# %%
from lessons.book.diagrams import Table, show

flat = [one for n in range(400) for one in data.question(n)[1]]
empty = sum(not one.mask.any() for one in flat) / len(flat)
mixed = sum(one.text_weight < 1 for one in flat) / len(flat)
area = sum(one.mask.mean() for one in flat if one.kind >= 0) / sum(
    bool(one.mask.any()) for one in flat if one.kind >= 0
)
show(
    Table(
        ["of all prompts", "share"],
        [
            ["name a class", f"{sum(o.kind >= 0 for o in flat) / 1600:.0%}"],
            ["of these with a picture mixed in", f"{mixed:.0%} of all"],
            ["ask for something that is not there", f"{empty:.0%}"],
        ],
    )
)
print(f"a class that is there covers {area:.1%} of its scene on average")

# %% [markdown]
# Where a picture is mixed in, its weight is at least a half: $c = w \cdot \text{text} + (1 - w) \cdot \text{picture}$
# with $w$ drawn from 0 to 0.5, as in the released models. Half of the class prompts have $w = 1$. [[4.3]] shows what
# that buys.
#
# **Why ask for what is not there?** A decoder that is never asked for an absent dog learns that the answer to "the dog"
# is always *something*: the most dog-like patch. That is not even wrong on its training data. So a fifth of the class
# prompts name another class (half of those a look-alike of what is there: the same colours), and the right answer is
# an empty mask.
#
# ## The loss
#
# ::predict answer="{=nothing_right:.0%}"
#     A decoder that paints nothing at all, whatever it is asked for: which share of the *pixels* does it get right on
#     class prompts for something that is there?
#
#     ---
#     That is why the share of right pixels is no measure here, and why a loss that asks each pixel alone is content
#     with nothing for a long while.

# %%
nothing_right = 1 - area
print(f"right pixels of a decoder that paints nothing: {nothing_right:.1%}")

# %% [markdown]
# Two losses share the work: binary cross entropy asks each pixel, the Dice loss asks each mask as a whole, so that a
# small sticker counts as much as a big one:
#
# $$
# L = 4 \cdot \text{BCE} + \frac{1}{2} \cdot \operatorname{mean}_{\text{masks}} \left(
# 1 - \frac{2 \sum p m + 1}{\sum p + \sum m + 1} \right)
# $$
#
# ::source lessons.train.clipseg.trainer.segmentation_loss nodoc
#
# The paper uses cross entropy alone; our scenes are small and their stickers smaller. What the two say about the same
# answers, to a small sticker and a big one (probabilities of 2 % and 98 %):

# %%
import torch.nn.functional as F


def two_losses(found, truth):
    """Cross entropy and Dice loss of one mask of sure pixels."""
    logits = torch.where(found, 3.9, -3.9)
    p, m = logits.sigmoid(), truth.float()
    dice = 1 - (2 * (p * m).sum() + 1) / (p.sum() + m.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, m).item(), dice.item()


rows = []
for name, side in (("small, 8 x 8", 8), ("big, 28 x 28", 28)):
    truth = torch.zeros(64, 64, dtype=torch.bool)
    truth[10 : 10 + side, 10 : 10 + side] = True
    half = truth.clone()
    half[10 : 10 + side // 2] = False
    for what, found in (
        ("right", truth),
        ("half of it", half),
        ("nothing", truth & False),
        ("everything", truth | True),
    ):
        cross, dice = two_losses(found, truth)
        rows.append([name, what, f"{cross:.2f}", f"{dice:.2f}"])
show(Table(["sticker", "painted", "cross entropy", "Dice loss"], rows))

# %% [markdown]
# Cross entropy finds it hardly worth mentioning that the small sticker was missed. Dice says so at once, whatever the
# size; but it says little about *which* pixel to change, and is nearly flat where nothing is painted. Together they do.
# (Even the right answer to the small one costs Dice something: 2 % of four thousand pixels outside is more than the
# sticker has inside.)
#
# ## Watch it learn
#
# Four scenes, 16 prompts, a decoder from nothing, with the optimizers of the real run. Because CLIP is frozen, its
# activations are computed once, before the first step; what remains is quick.

# %%
import numpy as np
from torch.nn.attention import SDPBackend, sdpa_kernel

from lessons.train import loop
from lessons.train.clipseg.trainer import segmentation_loss
from lessons.train.measures import normalized
from minimodels.stored import models

scenes = [data.question(n) for n in (5, 6, 7, 8)]
image = normalized(np.stack([picture for picture, _ in scenes]))
texts = [one.text for _, row in scenes for one in row]
target = torch.from_numpy(
    np.stack([[one.mask for one in row] for _, row in scenes])
)  # (4, 4, 64, 64)
with torch.no_grad():
    activations = model.encode(image)
    prompts = model.encode_text(model.tokenize(texts)).unflatten(0, (4, 4))

torch.manual_seed(0)
fresh = models.make("CLIPSeg", model.about["arguments"]).decoder
optimizers = loop.make_optimizers(
    fresh, matrix_rate=0.008, other_rate=0.004
)
steps, snapshots, curve = 120, {}, {}
for step in range(steps + 1):
    loop.set_rate(optimizers, step, steps)  # warm-up, then half a cosine
    with sdpa_kernel(SDPBackend.MATH):  # quicker backwards at this size
        logits = fresh(activations, prompts)
    loss = segmentation_loss(logits, target)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(fresh.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    if step in (0, 20, 40, 80, 120):
        p = logits.detach().sigmoid()
        snapshots[step] = p[0]
        painted = (p > 0.5).float().mean().item()
        curve[step] = loss.item()
        print(f"step {step:3}: loss {curve[step]:.2f}, "
              f"painted {painted:.1%} of all pixels")
wanted = target.float().mean().item()
print(f"to be painted: {wanted:.1%}")

# %% alt="Four rows, one for each prompt of the first scene; columns are steps 0, 20, 40, 80, 120 and the target. At step 0 an even grey, at steps 20 and 40 nearly all dark, then the right regions become bright, at first blurred, at step 120 near the target." caption="The four prompts of the first scene (rows); probabilities after 0, 20, 40, 80 and 120 steps, and the target (last column)."
import matplotlib.pyplot as plt

figure, axes = plt.subplots(4, 6, figsize=(6.2, 4.3), layout="constrained")
for row in range(4):
    for column, (step, masks) in enumerate(snapshots.items()):
        axes[row, column].imshow(masks[row], vmin=0, vmax=1)
        axes[0, column].set_title(f"step {step}", fontsize=9)
    axes[row, 5].imshow(target[0, row], vmin=0, vmax=1)
axes[0, 5].set_title("target", fontsize=9)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# First it learns to paint **nothing**: that is right for most pixels, and the loss falls from {=curve[0]:.1f} to
# {=curve[40]:.1f}. Then it begins to paint something, and only at the end what was asked. This decoder knows 16 answers
# by heart; ask it about a fifth scene and it knows nothing. For that it takes many scenes.
#
# ## The run that made the weights

# %% alt="Two panels over thousands of scenes. Left, the loss falls in a smooth curve. Right, three curves on validation scenes: the share of absent classes left empty starts at 100 percent, falls to a half and rises again to nine tenths; IoU on plain scenes rises from zero to almost 80 percent, on hard scenes to 70 percent." caption="The log of the training run, measured on validation scenes every 200 steps."
from minimodels.stored import embedded

log = embedded.log("tiny-clipseg")
lines = log["log"]
seen = [line["images"] / 1000 for line in lines]
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8), layout="constrained")
axes[0].plot(seen, [line["loss"] for line in lines])
axes[0].set(title="loss", xlabel="thousand scenes", ylim=(0, None))
for key, label in (
    ("left_empty", "absent left empty"),
    ("class_iou", "IoU"),
    ("hard_iou", "IoU, hard scenes"),
):
    axes[1].plot(seen, [line[key] for line in lines], label=label)
axes[1].set(title="validation", xlabel="thousand scenes", ylim=(0, 1.02))
axes[1].legend(loc="lower right")
plt.show()

# %%
scenes_seen, took = lines[-1]["images"], lines[-1]["seconds"] / 60
first, second, last = lines[0], lines[1], lines[-1]
print(f"{log['steps']:,} steps of {log['batch']} scenes, {took:.0f} minutes")
for name, line in (("first", first), ("second", second), ("last", last)):
    print(f"{name:6} line: IoU {line['class_iou']:.1%}, "
          f"absent left empty {line['left_empty']:.1%}")

# %% [markdown]
# The same story at large. After {=first["step"]} steps *every* absent class was left empty, and so was every other: IoU
# {=first["class_iou"]:.0%}. A single measure would have called that perfect. Then it paints, also where nothing is
# ({=second["left_empty"]:.0%} left empty), and learns to tell. **Always print both.**
#
# | | CLIPSeg (released code) | tiny CLIPSeg |
# |---|---|---|
# | data | PhraseCut and its extension: phrases, pictures, absent phrases | Sticker World, the same three |
# | steps x batch | 20,000 x 64 (refined: 50,000) | {=log["steps"]:,} x {=log["batch"]}, four prompts a scene |
# | picture | 352 x 352, random crops that show the object | 64 x 64, every scene is new |
# | loss | binary cross entropy | cross entropy and Dice |
# | optimizer | AdamW, 1e-3, a cosine down to 1e-4 | Muon and AdamW, warm-up, half a cosine |
# | absent prompts | 20 % | 20 % |
# | text weight in mixes | 0 to 0.5 | 0 to 0.5, and 1 |
#
# ## A threshold is a decision
#
# The decoder gives probabilities. Which of them count as found? Low thresholds find everything and paint too much, high
# ones are right about what little they paint. The text prompts of 300 unseen scenes, at 49 thresholds:

# %% alt="Two panels. Left, over the threshold from 0 to 1: recall falls, precision rises, IoU is a flat arch with its top near the middle, and the share of absent classes left empty rises from low thresholds on. Right: precision over recall, high and flat at first, falling at the right end." caption="Left: what each threshold does. Right: precision over recall; AP is the area below it."
from lessons.stickers.splits import TEST
from lessons.train.clipseg import report as exams
from minimodels.metrics import masks

exam = exams.class_exam(TEST, 300, hard=False)
absent = exams.absent_exam(TEST, 150, hard=False)
found = exams.predict(model, exam, 64)
false = exams.predict(model, absent, 64)
counts = masks.mask_counts(found.double(), exam.masks)
total = counts.total()
precision = (total.tp / (1 + total.tp + total.fp))[0]
recall = (total.tp / (1 + total.tp + total.fn))[0]
thresholds = masks.THRESHOLDS
iou = torch.tensor([exams.mean_iou(found, exam, t) for t in thresholds])
left = torch.tensor([exams.left_empty(false, t) for t in thresholds])
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8), layout="constrained")
for values, label in (
    (precision, "precision"),
    (recall, "recall"),
    (iou, "IoU"),
    (left, "absent left empty"),
):
    axes[0].plot(thresholds, values, label=label)
axes[0].set(xlabel="threshold", ylim=(0.4, 1.01))
axes[0].legend(loc="lower center", fontsize=8)
axes[1].plot(recall, precision)
axes[1].set(xlabel="recall", ylabel="precision", ylim=(0.4, 1.01))
plt.show()

# %%
best = int(iou.argmax())
best_threshold, best_iou = thresholds[best].item(), iou[best].item()
half_iou, half_empty = iou[24].item(), left[24].item()
ap = masks.average_precision(counts)
print(f"at 0.50: IoU {half_iou:.1%}, absent left empty {half_empty:.1%}")
print(f"best IoU {best_iou:.1%} at {best_threshold:.2f}")
print(f"AP {ap:.1%}, recall reaches from {recall.min():.0%} "
      f"to {recall.max():.0%}")

# %% [markdown]
# The arch of the IoU is flat: this threshold is no delicate number. For empty answers it is another matter, because one
# single pixel above it spoils them. Choose a threshold on validation pictures, never on those you report.
#
# **AP** takes all thresholds at once: the area below precision over recall. The released code computes it from these 49
# pairs with Simpson's rule and does not extend the curve to recall 0 and 1. Ours does the same and equals its numbers, so
# a model that is always sure, whose recall hardly moves from one threshold to the next, gets a small area for being sure.
# Compare AP only with AP that was computed the same way.
#
# **IoU** comes in three averages (exercise 4.2.4): the mean over scenes used here, the mean over classes (*mIoU*), and
# all pixels in one pot (*IoU_FG*), in which big stickers count most.
#
# ## What it reaches, and what it cannot

# %%
figures = embedded.figures("tiny-clipseg")
shown = [
    [
        row["measure"],
        f"{row['tiny_clipseg']:.1%}",
        "" if row["colour_only"] is None else f"{row['colour_only']:.1%}",
        "" if row["everything"] is None else f"{row['everything']:.1%}",
    ]
    for row in figures["rows"]
]
show(Table(["measure", "tiny CLIPSeg", "colour only", "everything"], shown))
by_name = {row["measure"]: row["tiny_clipseg"] for row in figures["rows"]}
relation = by_name["relation, hard scenes"]

# %% [markdown]
# *Colour only* is an oracle: it is told the pixels of every sticker and takes the one with the nearest colours. It needs
# no edges, so for plain class names it is hard to beat: what remains for the model to lose are its edges, blurred by
# patches of 8 pixels. In hard scenes, where colours deceive, the oracle falls by twice as much as the model.
#
# Then look at the last expressions. "The dog left of the tree", where there are two dogs: {=relation:.0%}. Not for lack
# of training, a third of the scenes asked such things. The prompt is **one vector for the whole sentence**, from a CLIP
# that hardly hears the order of words ([[3.3]]), and FiLM gives every patch the same factors: nothing in this model can
# tell one dog from the other by where the tree stands. That takes a model that reads word by word while it looks:
# [[4.4]].
#
# ## Train it yourself
#
# ```sh
# python -m lessons.train clipseg --steps 600 --out my/clipseg   # minutes
# python -m lessons.train clipseg --evaluate                     # the book's weights
# ```
#
# ## Write it yourself
#
# Loss, targets, measures: five small functions, and every figure of this page stands on one of them.
#
# ::exercises
#
# ::quiz
#     You train a decoder on your own pictures and forget negative prompts. On your test set, where every phrase is in
#     its picture, mIoU is as good as ever. What will you hear from the first user?
#
#     - [ ] Nothing: the measure says it works :: The measure never asked for anything absent.
#     - [x] "It finds cats in pictures without cats" :: The decoder has learned that there is always something to paint.
#     - [ ] "It finds no cats at all" :: Without negatives it paints more, not less.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | masks stay empty, the loss stays where it fell first | learning rate too small, or stopped too early |
# | good masks, and something is always found | no negative prompts |
# | CLIP's zero-shot accuracy falls while the decoder trains | CLIP's numbers are in the optimizer: not frozen |
# | an absent class is left empty in 100 % | look at IoU beside it: perhaps everything is |
# | IoU differs from a paper's by several points | another average, threshold, or an added pixel in the denominator |
# | small objects vanish | cross entropy alone; patches too large for them |
#
# ## The paper, and the same lines in the libraries
#
# Section 4 of the paper describes PhraseCut+ and the mixing, section 5 the measures. The released code trains with
# `training.py`; its configuration files ask for layers `[3, 7, 9]`, see [[4.1]]. The measures are in `masks.py`: 49
# thresholds, one pixel added to each denominator. **transformers**' `CLIPSegForImageSegmentation` returns the plain cross
# entropy when it is given labels; absent prompts and mixing are left to you.
