"""Patch matching: the same thing in another picture

No word, no training: one picture with one thing marked, and the question where that thing is in another picture. Each
patch has a feature; which patches belong together? Four ways to decide it, and why Matcher goes there and back again.

nav: Patch matching
minutes: 20
needs: 2.3, 3.2
paper: [Liu et al. 2024](https://arxiv.org/abs/2305.13310), "Matcher", section 3.1
code: minimodels/matcher.py
"""

# %% [markdown]
# ## One thing, two pictures
#
# On the left a sticker is marked. Somewhere on the right is one of the same class: on other ground, tilted, maybe of
# another size, among others. No model was ever trained for this question. What we have are features: tiny CLIP
# ([[3.2]]) reads each picture as patches, and after each of its blocks every patch is a vector. Pictures are enlarged
# twice before they are read, so that a sticker has more patches.

# %%
import torch

from lessons.stickers.splits import TEST
from lessons.train.matcher import data as matching
from minimodels import matcher

features = matching.ClipFeatures("tiny-clip", block=1)  # the second of four
pair = matching.make_pair(20, TEST, hard=True)
A, B = matching.describe(features, [pair.reference, pair.target])
side = round(len(A) ** 0.5)
size = features.patch_size
marked = matcher.mark_patches(pair.mask[None], size)[0]
count = int(marked.sum())
print(f"{pair.name}: picture {tuple(pair.reference.shape)}, "
      f"patches {tuple(A.shape)}")
print(f"{count} of {len(A)} patches touch the marked sticker")


# %% alt="Two scenes side by side. On the left, on wood, a tilted owl is outlined beside a butterfly and a bus; on the right an upright owl stands in the sky beside a penguin and a tractor." caption="Left: what is marked. Right: where is it?"
import matplotlib.pyplot as plt


def picture(axis, pixels, mask=None, title=""):
    """A picture without axes, a mask as its outline."""
    axis.imshow(pixels.permute(1, 2, 0))
    if mask is not None:
        axis.contour(mask, levels=[0.5], colors="white", linewidths=2)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=11)


figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.8), layout="constrained")
picture(axes[0], pair.reference, pair.mask, f"reference: {pair.name}")
picture(axes[1], pair.target, None, "target")
plt.show()

# %% [markdown]
# ## Every patch against every patch
#
# Let $a_r$ be the feature of reference patch $r$ and $b_t$ that of target patch $t$. All cosines at once:
#
# $$
# S_{rt} = \frac{a_r \cdot b_t}{\lVert a_r \rVert \, \lVert b_t \rVert}, \qquad S \in \mathbb{R}^{R \times N}
# $$
#
# ::source minimodels.matcher.cosine nodoc
#
# ::predict answer="{=S.numel()}"
#     Both pictures have {=len(A)} patches. How many numbers does $S$ hold?
#
#     ---
#     {=len(A)} rows and {=len(B)} columns. With DINOv2 and pictures of 518 pixels, as Matcher has it, 1,369 x 1,369.

# %% alt="Three heat maps of the target, one for each of three patches of the marked owl: bright where the cosine is high. The owl is brightest in all of them; penguin and tractor are fainter, the sky is dark." caption="Where the target looks like one patch of the sticker (its number above)."
S = matcher.cosine(A, B)
inside = torch.where(marked)[0]
chosen = inside[[count // 4, count // 2, 3 * count // 4]]
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), layout="constrained")
for axis, r in zip(axes, chosen.tolist()):
    picture(axis, pair.target, pair.right.float(), f"patch {r}")
    heat = axis.imshow(S[r].reshape(side, side), alpha=0.7, cmap="magma",
                       extent=(0, 127, 127, 0), vmin=0, vmax=1)
figure.colorbar(heat, ax=axes, shrink=0.8, label="cosine")
plt.show()

# %% [markdown]
# ## One way: the nearest patch
#
# The obvious thing: each marked patch takes the target patch with the largest cosine.
#
# ::predict
#     {=count} marked patches each choose one of {=len(B)}. How many different ones will be chosen, about?
#
#     ---
#     {=different}. Some target patches are liked by many: a plain stretch of fur looks like every plain stretch of fur.
#     The chosen places crowd there and say little about the whole thing.

# %%
right = matching.middles(pair.right, size)
nearest = S[inside].argmax(dim=1)
different = len(nearest.unique())
print(f"{count} patches chose {different} different ones, "
      f"{right[nearest].float().mean():.0%} of the choices are right")

# %% [markdown]
# ## Mutual: ask back
#
# Patch $r$ likes $t$ best. Does $t$ like $r$ best, among *all* patches of the reference? If $t$ lies on the grass, it
# most likely prefers the reference's grass, and the pair falls. But a crowd around one patch falls too: only one of
# them can be preferred.

# %%
back = S.argmax(dim=0)  # the best reference patch of each target patch
mutual = nearest[back[nearest] == inside]
print(f"{len(mutual)} mutual pairs, {right[mutual].float().mean():.0%} right")

# %% [markdown]
# ## Assignment: one place for each
#
# Give each marked patch a place of its own, so that the sum of cosines is as large as it can be:
#
# $$
# \hat\pi = \arg\max_{\pi} \sum_{r \in \text{mask}} S_{r\,\pi(r)}, \qquad \pi(r) \neq \pi(r') \text{ for } r \neq r'
# $$
#
# That is the assignment problem; the Hungarian algorithm solves it exactly, in scipy within milliseconds. Nobody
# crowds now. But look at what it forces: a patch whose rightful place is taken must go *somewhere*.
#
# ::quiz
#     The sticker in the reference covers 36 patches, in the target only 16. What does an assignment do?
#
#     - [ ] It matches 16 patches and leaves 20 out :: It would, if the target were the shorter side: min(rows, columns) pairs. The target has 256 patches.
#     - [x] It matches 36, so at least 20 land outside the sticker :: Every row gets a column. That is where the outliers come from.
#     - [ ] It puts several patches in one place :: That is what one-way matching does.

# %%
found = matcher.match_patches(S, marked)
print(f"{len(found.target)} pairs, {len(found.target.unique())} different, "
      f"{right[found.target].float().mean():.0%} right")

# %% [markdown]
# ## And back: who comes home?
#
# Matcher's answer to the outliers. Take the matched target patches and assign them back, to *all* patches of the
# reference:
#
# $$
# \hat\pi' = \arg\max_{\pi'} \sum_{t \in \hat\pi(\text{mask})} S_{\pi'(t)\,t}, \qquad \text{keep } t \text{ if } \hat\pi'(t) \in \text{mask}
# $$
#
# A target patch on the sticker finds its best place on the sticker. One that was dragged onto the grass finds a
# better place: the reference's grass, which is not marked, so the pair falls. It need not come back to the very patch
# it left, any marked one will do; that is more lenient than mutual neighbours, and keeps more.
#
# ::source minimodels.matcher.match_patches nodoc
#
# ::predict
#     Suppose the way back could end at marked patches only. How many pairs would it remove?
#
#     ---
#     None. Every pair would come back to the mask, because there is nowhere else to go. All shapes are right, nothing
#     complains, and the step does nothing: exercise 5.2.4.

# %%
home = found.target[found.retained]
print(f"{len(home)} pairs come back, {right[home].float().mean():.0%} right")

# %% alt="The target four times, with a dot for each match: orange where it is right, blue where it is wrong. One-way dots crowd on few patches; assigned dots fill the owl and spill onto penguin, tractor and ground; after the way back two of the spilled ones are left." caption="Matches of the four ways: orange on the right sticker, blue elsewhere."
results = {"nearest": nearest, "mutual": mutual,
           "assigned": found.target, "assigned, and back": home}
figure, axes = plt.subplots(1, 4, figsize=(6.8, 2.1), layout="constrained")
for axis, (name, patches) in zip(axes, results.items()):
    picture(axis, pair.target, pair.right.float(), name)
    x, y = matcher.patch_points(patches, side, size).T
    colours = ["#d55e00" if hit else "#0072b2" for hit in right[patches]]
    axis.scatter(x, y, s=14, c=colours, edgecolors="white", linewidths=0.5)
plt.show()

# %% [markdown]
# ## Measured
#
# One pair proves nothing. {=number} pairs of unseen scenes, easy ones and hard ones (the other stickers are alike in
# colour and of one size); how many matches a pair has, which share of them is right, and how many *different* patches
# of the right sticker are reached.

# %%
from lessons.book.diagrams import Table, show

number = 50
shares, similarities = {}, {}
for kind, hard in (("easy", False), ("hard", True)):
    pairs = [matching.make_pair(n, TEST, hard) for n in range(number)]
    A = matching.describe(features, [pair.reference for pair in pairs])
    B = matching.describe(features, [pair.target for pair in pairs])
    similarities[kind] = [matcher.cosine(a, b) for a, b in zip(A, B)]
    shares[kind] = matching.measure_ways(similarities[kind], pairs, size)
show(Table(["scenes", "way", "matches", "right", "different, right"],
           [[kind, way, f"{share.matches:.1f}", f"{share.right:.1%}",
             f"{share.different:.1f}"]
            for kind in shares for way, share in shares[kind].items()]))
one_way, forced, returned = (shares["hard"][way] for way in (
    "nearest", "assigned", "assigned, and back"))
removed = 1 - (returned.matches * (1 - returned.right)
               / (forced.matches * (1 - forced.right)))
lost = 1 - returned.matches * returned.right / (forced.matches * forced.right)

# %% [markdown]
# Read the hard scenes. The assignment's matches are right in {=forced.right:.0%} of cases, fewer than the nearest
# patches' {=one_way.right:.0%}, because every marked patch must go somewhere. The way back removes {=removed:.0%} of
# the wrong matches and {=lost:.0%} of the right ones; and it still reaches {=returned.different:.1f} different patches
# of the sticker where one-way matching reaches {=one_way.different:.1f}. Spread over the whole thing *and* mostly
# right: that is what one wants before clicking on them ([[5.3]]). The numbers may differ by a match or two on another
# machine.
#
# Why are so many wrong at all? One marked pixel makes a patch count as marked, so the patches at the rim are mostly
# ground. They find ground. A purer mask has purer matches, and fewer:

# %%
rows = []
for share in (0.0, 0.25, 0.5):
    total = hits = 0
    for similarity, pair in zip(similarities["hard"], pairs):
        rim = matcher.mark_patches(pair.mask[None], size, share)[0]
        if rim.any():
            kept = matcher.match_patches(similarity, rim).patches
            total += len(kept)
            hits += int(matching.middles(pair.right, size)[kept].sum())
    rows.append([f"more than {share:.0%}", f"{total / number:.1f}",
                 f"{hits / total:.1%}"])
show(Table(["of a patch is marked", "matches a pair", "right"], rows))

# %% [markdown]
# ## Which features?
#
# The way back can only be as good as the features. The simplest measure: is the *one* most similar target patch on
# the right sticker? Beside tiny CLIP's blocks stand the mean colour of a patch, and the same network before training:
# a baseline that does surprisingly well, because stickers have colours.
#
# ::predict
#     Which block of tiny CLIP finds the right sticker best, the first or the last?
#
#     ---
#     Neither end is a law, but the last is not the best: its patches know what the *picture* is about, because that is
#     what the class token takes from them. Matcher takes DINOv2's patches before its last norm.

# %%
from minimodels.clip import CLIP
from minimodels.patch_features import PatchFeatures
from minimodels.stored import models


class Colour(torch.nn.Module):
    """The mean colour of each patch."""

    patch_size, mean, std = 8, (0.5,) * 3, (0.25,) * 3

    def patch_features(self, image):
        means = torch.nn.functional.avg_pool2d(image, self.patch_size)
        return means.flatten(2).mT


torch.manual_seed(0)
trained = models.load("tiny-clip")
fresh = CLIP(**trained.about["arguments"])
untrained = PatchFeatures(fresh, 1)
untrained.mean = trained.preprocess.mean
untrained.std = trained.preprocess.std
candidates = {"mean colour": Colour(), "untrained, block 1": untrained}
for block in range(4):
    candidates[f"tiny CLIP, block {block}"] = matching.ClipFeatures(
        "tiny-clip", block)
rows, best = [], {}
easy = [matching.make_pair(n, TEST) for n in range(number)]
for name, model in candidates.items():
    for kind, some in (("easy", easy), ("hard", pairs)):
        with torch.no_grad():
            A = matching.describe(model, [pair.reference for pair in some])
            B = matching.describe(model, [pair.target for pair in some])
        cosines = [matcher.cosine(a, b) for a, b in zip(A, B)]
        best[name, kind] = matching.best_patch(cosines, some, 8)
    rows.append([name, f"{best[name, 'easy']:.0%}",
                 f"{best[name, 'hard']:.0%}"])
show(Table(["feature", "easy", "hard"], rows))

# %% [markdown]
# ## Write it yourself
#
# Four exercises: all cosines and the nearest patch, mutual pairs, the best assignment by trying all, and the way back
# that forgives everything.
#
# ::exercises
#
# ## What can go wrong
#
# - **The way back sees the marked patches only.** Nothing is ever removed (5.2.4).
# - **Products for cosines.** Features have lengths; a long one wins everywhere.
# - **The last layer's features.** Fine for naming a picture, worse for finding a place.
# - **More marked patches than target patches**, as with several reference pictures: then the assignment's other side
#   is full, and *every* target patch is matched. The way back has to do all the work.
# - **An object that is not there.** An assignment always assigns. Only scores can say that nothing fits ([[5.3]]).
#
# ## In the paper and in the libraries
#
# Liu et al. 2024, section 3.1: equations 1 to 3 are the three formulas of this page; the paper calls the step
# bidirectional matching. `scipy.optimize.linear_sum_assignment(S, maximize=True)` is the assignment, here and in the
# released code. From there come two more rules that `match_patches` follows: of more than 40 pairs only the better
# half stays, and if no pair comes back all of them stay.
