"""DINOv2: a model that teaches itself what lies where

Show a model one dog, and ask where the dog is in another picture. Nobody ever told it the word "dog", nor any other
word. Can it know? You ask its patches, see how they were taught without a single label, and meet the two ways in which
official weights want their positions resized.

nav: DINOv2
minutes: 20
needs: 2.2, 2.3
paper: [Oquab et al. 2024](https://arxiv.org/abs/2304.07193), section 4; [Caron et al. 2021](https://arxiv.org/abs/2104.14294), section 3.1
code: minimodels/dinov2.py
"""

# %% [markdown]
# ## Which patch there is like this patch here?
#
# A ViT gives back one vector for each patch ([[2.3]]). Take the vectors of the patches on a sticker in one scene, and
# all those of a second scene that shows a sticker of the same class: the pair with the largest cosine is the model's
# answer to "where is it?". It is the right answer if the pixel in the middle of the patch it found is the right
# sticker's.
#
# Two kinds of pairs are asked. In the plain ones the other stickers are any; in the hard ones all have the same size,
# and colours as near as the sheet has them.
#
# ::predict answer="{=100 * scores['untrained', 'plain']:.0f}|{=scores['untrained', 'plain']:.2f}"
#     The same network, before any training, answers too: its random layers mix the numbers of each patch and its
#     surroundings. In how many of 100 plain pairs does its best patch lie on the right sticker?
#
#     ---
#     {=100 * scores['untrained', 'plain']:.0f} of 100, and {=100 * scores['untrained', 'hard']:.0f} of 100 hard ones.
#     A random layer keeps what goes in: equal colours stay equal. Colour alone finds most stickers, so a figure means
#     something only above this one.

# %%

import matplotlib.pyplot as plt
import torch
from einops import rearrange

import minimodels
from lessons.book.diagrams import Table, show
from lessons.stickers.splits import TEST
from lessons.train.dinov2 import report
from minimodels.dinov2 import DINOv2
from minimodels.stored import embedded

taught = minimodels.load("tiny-dinov2")
numbers = taught.about["arguments"]
torch.manual_seed(0)
untrained = DINOv2(**numbers).eval()
card = embedded.figures("tiny-dinov2")
measured = {(row["model"], row["pairs"]): row for row in card}
block = measured["tiny DINOv2, no labels", "plain"]["block"]  # its best one
shown = ("patch_size", "embed_dim", "depth", "num_heads")
print({name: numbers[name] for name in shown})
print(f"{sum(p.numel() for p in taught.parameters()):,} parameters")

exams = {
    kind: report.pairs(TEST, 100, hard=kind == "hard")
    for kind in ("plain", "hard")
}


def features(model, images):
    """Unit vectors of the patches after that block: (N, 256, D)."""
    return report.exam_features(model, images, times=1)[block]


models = {"untrained": untrained, "self-taught": taught}
known, scores = {}, {}
for name, model in models.items():
    for kind, exam in exams.items():
        both = [features(model, p) for p in (exam.references, exam.targets)]
        known[name, kind] = both
        scores[name, kind] = report.judge(*both, exam).right

show(
    Table(
        ["patches of", "plain pairs", "hard pairs"],
        [
            [name, *(f"{scores[name, kind]:.0%}" for kind in exams)]
            for name in models
        ],
    )
)

# %% [markdown]
# Both give the patches after their block {=block + 1} of {=numbers['depth']}, the self-taught model's best one on
# validation scenes. 100 pairs each, so a figure moves by several points from one draw to the next; the training script
# asks more pairs and more models, and its table comes further down.

# %% fold="The code of this figure" alt="Three rows of three pictures. Left: a scene with the patches of one sticker framed. Middle and right: another scene with a cross at the patch that the untrained and the self-taught model find most alike; green crosses lie on the right sticker, red ones do not." caption="Left: what is asked. Then where each model points: green is right, red is wrong. Hard pairs on which the two disagree: two that training gained, one that it lost."
exam = exams["hard"]
asked = report.on_object(exam.wanted, 16)
right = report.centres(exam.right, 16)  # (100, 256)
found = {
    name: report.best_patch(*known[name, "hard"], asked) for name in models
}
hits = {name: right.gather(1, f[:, None])[:, 0] for name, f in found.items()}
won = torch.nonzero(hits["self-taught"] & ~hits["untrained"])[:, 0]
lost = torch.nonzero(hits["untrained"] & ~hits["self-taught"])[:, 0]
chosen = torch.cat([won[:2], lost[:1]]).tolist()

figure, axes = plt.subplots(3, 3, figsize=(5.2, 5.4), layout="constrained")
for row, n in zip(axes, chosen):
    row[0].imshow(exam.references[n])
    for patch in torch.nonzero(asked[n])[:, 0].tolist():
        y, x = divmod(patch, 16)
        square = plt.Rectangle(
            (4 * x - 0.5, 4 * y - 0.5), 4, 4, fill=False, ec="white", lw=0.7
        )
        row[0].add_patch(square)
    for axis, name in zip(row[1:], models):
        axis.imshow(exam.targets[n])
        y, x = divmod(int(found[name][n]), 16)
        colour = "#19d119" if hits[name][n] else "#ff2a2a"
        axis.plot(4 * x + 1.5, 4 * y + 1.5, "x", ms=11, mew=3, color=colour)
for axis, title in zip(axes[0], ("asked", *models)):
    axis.set_title(title, fontsize=9.5)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Look at all patches at once
#
# A patch's vector has {=numbers['embed_dim']} numbers, a screen has three colours. Principal component analysis (PCA)
# finds the three directions along which the vectors of many pictures differ most: subtract the mean, take the
# directions of largest variance, and paint the three coordinates as red, green and blue. Equal colours then mean alike
# patches, in whichever picture they lie.

# %% alt="Six scenes in a row; below each the same scene as 16 x 16 coloured squares from the untrained model, and below that from the self-taught one. Stickers stand out from their background in both." caption="Above: scenes. Middle: three principal components of the untrained patches; below: of the self-taught ones. One PCA for all six pictures of a row."


def paint(vectors):
    """Three principal components of all patches (N, P, D) as colours."""
    rows = rearrange(vectors, "n p d -> (n p) d")
    rows = rows - rows.mean(dim=0)
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    colours = rows @ directions[:3].T  # (N P, 3)
    low, high = colours.quantile(0.02, dim=0), colours.quantile(0.98, dim=0)
    colours = ((colours - low) / (high - low)).clamp(0, 1)
    return rearrange(colours, "(n h w) c -> n h w c", h=16, w=16)


scenes = exams["plain"].targets[:6]
painted = {
    name: paint(features(model, scenes)) for name, model in models.items()
}
figure, axes = plt.subplots(3, 6, figsize=(6.4, 3.4), layout="constrained")
for column in range(6):
    axes[0, column].imshow(scenes[column])
    for row, name in enumerate(models, start=1):
        axes[row, column].imshow(painted[name][column].numpy())
for axis, title in zip(axes[:, 0], ("scene", *models)):
    axis.set_ylabel(title, fontsize=9)
for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
plt.show()

# %% [markdown]
# ## A teacher who is the student's own past
#
# Where does a lesson come from if nobody has labels? From the picture itself: *two crops of one scene show the same
# thing*. A **student** and a **teacher**, the same network twice, each see other crops, and both say to which of 512
# learned *prototypes* what they see belongs. The student is trained to say what the teacher says:
#
# $$
# \min_{\theta_s} \; - \sum_k P_t(x)_k \, \log P_s(x')_k
# \qquad P_s(x') = \operatorname{softmax}\left( g_{\theta_s}(x') / \tau_s \right)
# $$
#
# (Caron et al. 2021, eq. 2 and 3.) The teacher learns nothing by itself. After each step it moves a little towards the
# student: $\theta_t \leftarrow \lambda \theta_t + (1 - \lambda) \theta_s$ with $\lambda$ from 0.99 to 1. It is the mean
# of the student's recent past, and for that reason a little better than the student is now.
#
# Here are the crops of one step. The two large ones go through both networks, the small ones through the student alone:
# from a corner of a scene it has to guess what the teacher saw in a large part of it.

# %% fold="The code of this figure" alt="Three scenes, each with two large and two small crops: turned, mirrored, brighter or darker, with other colours. In the first large crop of each about a third of the patches is grey." caption="What one step shows: a scene, two large crops, two small ones, each turned, mirrored and in a light of its own. In the student's large crops 3 of 10 patches are hidden."
from lessons.train import loop
from lessons.train.dinov2 import trainer as school

trainer = school.Trainer(loop.Settings(steps=10, batch=3))
crops, views, masked = trainer.crops(5)
low, high = -2.2, 2.6
figure, axes = plt.subplots(3, 5, figsize=(6.2, 3.8), layout="constrained")
sources = school.exams.training_scenes(trainer.scenes(5), 0.2).images
hidden = rearrange(masked[:3], "n (h w) -> n h w", h=8)
hidden = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)
for n in range(3):
    axes[n, 0].imshow(sources[n])
    for at, crop in enumerate(crops, start=1):
        picture = rearrange(crop[n], "c h w -> h w c").clone()
        if at == 1:
            picture[hidden[n]] = 0.2
        picture = ((picture - low) / (high - low)).clamp(0, 1)
        axes[n, at].imshow(picture.numpy())
titles = ("scene", "large, hidden", "large", "small", "small")
for axis, title in zip(axes[0], titles):
    axis.set_title(title, fontsize=9)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# Two losses are added. The **class token's** is the one above (DINO). The **patches'** asks the same of single patches:
# the teacher's patch that shows the same spot of the scene in the other crop is the target, and some of the student's
# patches are hidden, so that it must guess them from what lies around (the loss of iBOT, which DINOv2 took over; ours
# goes across crops, so that size and tilt stop to matter).
#
# ::source lessons.train.dinov2.trainer.Trainer.loss nodoc
#
# ::quiz
#     What is the easiest way for student and teacher to agree perfectly?
#
#     - [ ] To learn what a dog is :: That would do it, and it is hard.
#     - [x] To give every picture the same prototype :: No mistake is possible then, and nothing is learned. It is
#       called collapse, and something must forbid it.
#     - [ ] To copy the picture's pixels :: The two see other crops, in another light: their pixels differ.
#
# ## Against collapse
#
# DINO subtracts a running mean from the teacher's logits (*centring*) and sharpens the rest with a low temperature.
# DINOv2 goes further: over all samples of a step, each prototype must get the same share. Dividing columns and rows by
# their sums in turn, three times, is enough (Sinkhorn-Knopp):
#
# ::source lessons.train.dinov2.trainer.sinkhorn nodoc
#
# ::predict answer="{=softmax_used}"
#     Below, 200 samples all lean to prototype 1 of 8: its logit is larger by 1, the rest is noise of size 0.2. With
#     softmax at temperature 0.05, how many of the 8 prototypes are the first choice of at least one sample?
#
#     ---
#     {=softmax_used} of them with softmax, {=sinkhorn_used} after Sinkhorn. What all samples have in common cancels in
#     the columns, and what tells them apart is left.

# %%
generator = torch.Generator().manual_seed(0)
logits = 0.2 * torch.randn(200, 8, generator=generator)
logits[:, 0] += 1  # the start of a collapse
plain = (logits / 0.05).softmax(dim=1)
shared = school.sinkhorn(logits, 0.05)
softmax_used = len(plain.argmax(dim=1).unique())
sinkhorn_used = len(shared.argmax(dim=1).unique())
show(
    Table(
        ["teacher's answer", "first choices", "largest share", "smallest"],
        [
            [
                name,
                str(len(answer.argmax(dim=1).unique())),
                f"{answer.mean(dim=0).max():.1%}",
                f"{answer.mean(dim=0).min():.1%}",
            ]
            for name, answer in (("softmax", plain), ("Sinkhorn", shared))
        ],
    )
)

# %% [markdown]
# ## Did it work?
#
# The run's own log: how often the best patch was right on the validation split while it learned, by the patches of each
# block. The last block is what the two losses ask; the first sees little more than colours.

# %% alt="Lines over the number of training scenes: the share of right patches on hard pairs, one line for each of the blocks, and a dashed line for tiny-vit, which learned from labels." caption="Hard pairs of the validation split (100, so a line jumps by a few points). Dashed: tiny-vit, which learned the 64 names in lesson 2.3."
log = embedded.log("tiny-dinov2")
lines = log["log"]
kept = log.get("kept_step", lines[-1]["step"]) * log["batch"]
first, last = lines[0], lines[-1]
end = numbers["depth"] - 1
was_plain, now_plain = (line[f"plain_{end}"] for line in (first, last))
was_hard, now_hard = (line[f"hard_{end}"] for line in (first, last))
figure, axis = plt.subplots(figsize=(6.2, 2.8), layout="constrained")
for block in range(numbers["depth"]):
    axis.plot(
        [line["images"] for line in lines],
        [line[f"hard_{block}"] for line in lines],
        marker="o",
        label=f"block {block + 1}",
    )
axis.axhline(
    measured["tiny ViT, 64 labels", "hard"]["right"], ls="--", color="gray"
)
axis.set_xlabel("training scenes")
axis.set_ylabel("right, hard pairs")
axis.legend(loc="lower right")
plt.show()

# %%
names = list(dict.fromkeys(row["model"] for row in card))
kinds = ("plain", "hard", "held-out")
show(
    Table(
        ["patches of", "block", *kinds, "each patch, hard"],
        [
            [
                name,
                str(measured[name, "plain"]["block"] + 1),
                *(f"{measured[name, kind]['right']:.1%}" for kind in kinds),
                f"{measured[name, 'hard']['each']:.1%}",
            ]
            for name in names
        ],
    )
)
best = max(names, key=lambda name: measured[name, "hard"]["right"])
taught_right = measured["tiny DINOv2, no labels", "hard"]["right"]
fresh_right = measured["untrained DINOv2", "hard"]["right"]

# %% [markdown]
# That is `python -m lessons.train dinov2 --evaluate`, {=report.COUNT} pairs a column (half as many held-out), every
# model at the block that does best on the validation split. Models with patches of 8 pixels read the pictures twice as
# large, so that all look at the same spots. The last column asks more: of *all* patches of the sticker, how many have
# their nearest neighbour on the right one?
#
# Read the table with care. On hard pairs the self-taught patches are right in {=100 * taught_right:.1f} of 100, the
# same network untrained in {=100 * fresh_right:.1f}; with 500 pairs, two points more or less are chance. The best is
# *{=best}*: this world has exactly the 64 classes whose names `tiny-vit` was told, and labels that fit the question
# are hard to beat. What self-distillation lacks here is scenes: {=kept:,} of them, minutes of one core,
# beside 142 million photographs. Nobody has labels for those; there the frozen features of DINOv2 are ahead of
# models trained with captions on most of the paper's dense tasks (section 7.4), and Matcher uses them ([[5.2]]). The
# book's own small Matcher takes the patches that match best in this table's world, with labels or captions ([[5.3]]).
#
# Look at the blocks in the figure, too. From the first point to the last the loss fell from {=first['loss']:.1f} to
# {=last['loss']:.1f}: the student learned what it was asked. On plain pairs the last block went from {=was_plain:.0%} to
# {=now_plain:.0%}, on hard ones from {=was_hard:.0%} to {=now_hard:.0%}, and the first block, which sees little more
# than colours, stayed ahead of it.
# The losses act on the last block, and it need not be the best for matching: to know a spot again in another crop, its
# surroundings are a good sign, and in the second scene of a pair the surroundings are others. What a model says at its
# end is what its loss asked for, and no loss here asked for matching. So the run was stopped, and the weights of the
# point that did best on validation were kept.
#
# ## The parts of the real one
#
# DINOv2 is a ViT with three changes. Each branch is scaled by a learned factor a channel before it is added
# (*LayerScale*); started at 0.00001 it lets forty blocks begin as the identity:
#
# ::source minimodels.dinov2.ScaledBlock.forward
#
# ViT-g replaces the MLP by a gated one (*SwiGLU*):
#
# ::source minimodels.dinov2.SwiGLU nodoc
#
# And a later release adds four *registers*, learned tokens between class token and patches. Large models had begun to
# use patches of empty sky as scratch paper, which ruins them as features; registers are scratch paper of their own
# (Darcet et al. 2024). They get no position:
#
# ::source minimodels.dinov2.DINOv2.embed nodoc
#
# ## Two ways to resize positions
#
# All releases were trained on 518 x 518 pixels, 37 x 37 patches. For any other grid the table is resized, and here the
# official code does something that no one would guess: models *without* registers hand on a factor with 0.1 added to
# the number of cells; models *with* registers hand on the size, and smooth.
#
# ::source minimodels.dinov2.DINOv2.positions nodoc
#
# The result has the same shape either way. How far apart are the values?

# %%
torch.manual_seed(0)
small = {"embed_dim": 64, "depth": 1, "num_heads": 1, "mlp_dim": 8}
model = DINOv2(image_size=518, patch_size=14, **small)
rows = []
for grid in ((16, 16), (37, 37), (45, 60), (4, 6)):
    with torch.no_grad():
        model.position_offset, model.antialias = 0.1, False
        official = model.positions(grid)[1:]
        model.position_offset, model.antialias = 0.0, False
        by_size = model.positions(grid)[1:]
        model.position_offset, model.antialias = 0.0, True
        smooth = model.positions(grid)[1:]
    spread = model.pos.std()
    rows.append(
        [
            f"{grid[0]} x {grid[1]}",
            f"{(by_size - official).std() / spread:.0%}",
            f"{(smooth - official).std() / spread:.0%}",
        ]
    )
show(Table(["grid", "by size", "by size, smoothed"], rows))

# %% [markdown]
# The difference to the official way, in parts of the table's own spread, for a table of noise (a learned table is
# smoother and suffers less). `by size` is what transformers does with these weights, `smoothed` what timm does. At 37 x
# 37 nothing is resized and all agree, which is why such a thing goes unnoticed: Matcher runs at 518 x 518 only.
#
# ## Before or after the last norm?
#
# The official model gives `x_norm_patchtokens`, after the last LayerNorm, and `x_prenorm`, before it. Linear layers are
# trained on the first; Matcher compares the second. A cosine is not blind to the difference: LayerNorm subtracts each
# token's mean and then weights the channels.

# %%
with torch.no_grad():
    image = report.normalized(exams["hard"].targets[:1], taught)
    everything = taught.encode(image)
normalize = torch.nn.functional.normalize
after = normalize(everything.patches[0], dim=-1)
before = normalize(taught.patch_features(image)[0], dim=-1)
gap = (after @ after.T - before @ before.T).abs()
print({name: tuple(t.shape) for name, t in everything._asdict().items()})
factors = taught.norm.weight
print(f"the norm's factors: {factors.min():.2f} to {factors.max():.2f}")
print(f"cosines of two patches differ by up to {gap.max():.4f}")

# %% [markdown]
# As long as the norm's factors lie near 1, as at the start of a training, the two agree; the longer a model learns, the
# further they part. Which of the two to hand on is not a matter of taste: it must be the one that the next model
# expects.
#
# ## Write it yourself
#
# Five exercises, each checked against a reference: the gated MLP, positions the official way, Sinkhorn, a loss that
# somebody got wrong, and the teacher's step.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | features are right at 518 x 518 and slightly off elsewhere | positions resized to a size, or smoothed; the models without registers want the factor with 0.1 |
# | 9 x 4 patches with a table of 6 x 6: right shapes, wrong features | the number of patches is equal, and the table was not resized |
# | official weights give nonsense | LayerScale forgotten: the released factors are far from 1 |
# | patches are shifted by four | registers not taken off: patches begin at 1 + R |
# | ViT-g is wrong everywhere | halves of SwiGLU swapped |
# | loss of your own training falls to zero in minutes | collapse, or teacher and student see the same crop |
# | loss stays at $\log K$ | temperatures: the teacher's must be lower than the student's |
#
# ## The paper, and the same lines in the libraries
#
# Oquab et al. 2024, section 4, lists the losses; the *KoLeo* term, which spreads the class tokens, and the untied heads
# are in it too (ours has the heads, not the term). Caron et al. 2021, section 3.1, has equations 2 and 3 and the
# teacher; figure 1 of DINOv2 is the PCA picture, made after a first component has told things from background.
#
# In **timm** the models are `vit_small_patch14_dinov2` to `vit_giant_patch14_reg4_dinov2`: a `VisionTransformer` with
# `init_values` (LayerScale), `SwiGLUPacked` and `reg_tokens`. timm adds the class token's position to the token itself
# where there are registers. In **transformers** they are `Dinov2Model` and `Dinov2WithRegistersModel`, with
# `layer_scale1.lambda1`. The table that turns either into ours, and back, is `checkpoints_convert/tables/dinov2.py`; how such
# a table is proven is the subject of [[2.4]].
