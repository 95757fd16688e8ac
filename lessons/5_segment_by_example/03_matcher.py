"""Matcher: features say where, SAM draws, transport chooses

Two models that were never trained for it, joined without training: patches that match ([[5.2]]) become clicks, SAM
([[5.1]]) answers each click with masks, and a score picks the masks that look like what was shown. Every stage has a
picture here, and a number that says what it adds.

nav: Matcher
minutes: 20
needs: 5.1, 5.2
paper: [Liu et al. 2024](https://arxiv.org/abs/2305.13310), "Matcher", section 3
code: minimodels/matcher.py
"""

# %% [markdown]
# ## From a marked object to another one
#
# Neither half can do it alone. Features know *where* the object is, in patches of 8 pixels; nobody wants a mask made of
# bricks. SAM draws fine masks, of anything, and does not know *what* is looked for. Matcher (Liu et al. 2024) joins them
# in three steps:

# %% hide-input
from lessons.book.diagrams import Drawing, Table, show

drawing = Drawing(620, 150, "Matcher: reference and target give features; "
                  "matched patches become point sets; SAM answers with "
                  "proposals; scores choose and merge them")
pictures = drawing.box(10, 20, 110, 44, "pictures", "and a mask")
patches = drawing.box(165, 20, 120, 44, "features", "which patches?",
                      tone="blue")
points = drawing.box(330, 20, 120, 44, "point sets", "where to click",
                     tone="blue")
masks = drawing.box(330, 92, 120, 44, "SAM", "proposals", tone="green")
scores = drawing.box(165, 92, 120, 44, "scores", "EMD, purity ...",
                     tone="rust")
result = drawing.box(10, 92, 110, 44, "merging", "the mask")
drawing.arrow(pictures, patches, "")
drawing.arrow(patches, points, "")
drawing.arrow(points, masks, "")
drawing.arrow(masks, scores, "")
drawing.arrow(scores, result, "")
show(drawing)

# %% [markdown]
# The whole of it, as it runs. Every intermediate has a name, so that you can stop after any line and look:
#
# ::source minimodels.matcher.Matcher.forward nodoc
#
# Here it runs with the book's own small parts: tiny CLIP's patches and tiny SAM.

# %%
import torch

from lessons.stickers.splits import TEST
from lessons.train.matcher import data as matching
from lessons.train.matcher.report import mask_iou
from minimodels.stored import tiny_matcher

model = tiny_matcher.load()
pair = matching.make_pair(20, TEST, hard=True)
found = model(pair.reference[None], pair.mask[None], pair.target)
pairs, kept = len(found.matches.target), len(found.points)
print(f"{pair.name}: {pairs} forward matches, "
      f"{kept} points after the way back")
sets = [tuple(one.shape[:2]) for one in found.prompts]
print("point sets (how many, points each):", sets)
print(f"{len(found.proposals)} proposals, {len(found.chosen)} merged")
iou = mask_iou(found.mask, pair.right)
print(f"score {found.score:.2f}, IoU with the truth {iou:.2f}")

# %% [markdown]
# ## Clicks: sets of points
#
# Some matches are wrong, and a click on the wrong thing spoils the answer. So SAM is not asked once with all points but
# many times with a few: with luck a set holds good points only. Sets are small (a click on the eye), middle (a part)
# and large (the whole), which is why the paper calls the sampler robust.
#
# ::source minimodels.matcher.prompt_sets nodoc
#
# ::predict answer="56"
#     Eight points or fewer: all sets are taken. How many sets of 3 points do 8 points have?
#
#     ---
#     8 x 7 x 6 / 6 = 56. With nine there would be 84, and from there on sets are drawn by chance.
#
# With many matches, the points are clustered first and sets are drawn from the cluster centres: k-means, whose first
# centres are drawn far from each other (k-means++, exercise 5.3.1).

# %% alt="The target four times with clicks and the surest mask for them. A click on the penguin gives the penguin, one on the owl the owl, two on the owl the owl again; two on the owl and one on the penguin give the owl with pieces of something else." caption="A few point sets and SAM's surest mask for each."
import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap


def picture(axis, pixels, mask=None, points=None, title=""):
    """A picture without axes, with a mask and with clicks."""
    axis.imshow(pixels.permute(1, 2, 0))
    if mask is not None and mask.any():
        axis.imshow(torch.where(mask, 1.0, float("nan")), alpha=0.6,
                    cmap=ListedColormap(["#0072b2"]))
    if points is not None:
        axis.scatter(*points.T, s=26, c="#d55e00", edgecolors="white")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)


def answer(points):
    """SAM's surest mask for one set of points."""
    proposals = model.propose(pair.target, [points[None]], None)
    best = max(proposals, key=lambda proposal: proposal.predicted_iou)
    return torch.from_numpy(best.mask)


figure, axes = plt.subplots(1, 4, figsize=(6.8, 2.0), layout="constrained")
for axis, (size, number) in zip(axes, ((0, 0), (0, 5), (1, 3), (2, 1))):
    points = found.prompts[size][number]
    picture(axis, pair.target, answer(points), points)
plt.show()

# %% [markdown]
# ## Proposals: which mask looks like what was shown?
#
# Every set gives SAM's three masks. Which one is the object? SAM's own opinion, the predicted IoU, does not help: it
# says how clean a mask is, and a clean mask of the tractor is a clean mask. Three scores ask about the object.
#
# **Earth mover's distance.** The marked patches of the reference are heaps of earth, all equally heavy; the patches of
# the proposal are holes, all equally large. Moving one unit from $r$ to $t$ costs $C_{rt} = (1 - S_{rt}) / 2$. What is
# the cheapest way to fill the holes?
#
# $$
# \text{EMD} = \min_{P \geq 0} \sum_{r,t} P_{rt}\, C_{rt}, \qquad \sum_t P_{rt} = \tfrac{1}{R}, \quad \sum_r P_{rt} = \tfrac{1}{M}
# $$
#
# It is small when the proposal has what the reference has, in like amounts: half an owl lacks feet, an owl with a piece
# of sky has patches that nothing wants to move to.
#
# ::source minimodels.matcher.transport_scores nodoc
#
# **Purity and coverage.** Let $n_{in}$ be the matched points inside a proposal of $M$ patches, and $n$ all matched
# points. Purity is $n_{in} / M$, coverage is $n_{in} / n$: a mask should hold many points and little else, and it
# should not leave points outside.
#
# $$
# \text{score} = \alpha\,(1 - \text{EMD}) + \beta \cdot \text{purity} \cdot \text{coverage}^{\lambda}
# $$
#
# ::quiz
#     A proposal covers the whole picture. What happens to its three scores?
#
#     - [ ] All are bad :: One of them is perfect.
#     - [x] Coverage is perfect, purity and EMD are bad :: All points lie inside; but so does all the sky.
#     - [ ] Purity is perfect, coverage is bad :: Purity divides by the number of patches, and there are 256.

# %% alt="Six proposals on the target with their three scores. The owl has the best ones; all three stickers together have a full coverage and a low purity; the sky has the worst EMD and next to no matched point inside." caption="Proposals from the best total to the worst."
order = found.totals.argsort(descending=True)
chosen = order[torch.linspace(0, len(order) - 1, 6).long()]
figure, axes = plt.subplots(2, 3, figsize=(6.4, 5.0), layout="constrained")
for axis, number in zip(axes.flat, chosen.tolist()):
    emd, purity, coverage = (values[number] for values in found.scores)
    picture(axis, pair.target, found.masks[number],
            title=f"1 - EMD {emd:.2f}\npurity {purity:.2f}, "
                  f"coverage {coverage:.2f}")
plt.show()

# %% [markdown]
# ## Merging: how many masks make the answer?
#
# One word, several answers: "this owl", "owls", "a head". The released settings differ in the last step. For things of
# a kind (semantic) several proposals are merged, one for each thing; for one whole object a few that are nearly as good
# as the best; for parts few. `merge` is the most there may be, `share` how good they must be beside the best.
#
# ::source minimodels.matcher.choose_best nodoc
#
# ## What each stage adds
#
# Measured on {=count} easy and {=count} hard pairs of unseen scenes, with `python -m lessons.train matcher --evaluate`.
#
# ::predict
#     Before you look: what is left if SAM is asked only once, with all matched points together?
#
#     ---
#     {=once:.0%} against {=whole:.0%} on the hard pairs. One wrong click among fifteen, and the mask must explain it.

# %%
from lessons.train.matcher.report import STAGES
from minimodels.stored import embedded

figures = embedded.figures("tiny-matcher")
count = figures["hard"]["pairs"]
easy, hard = figures["easy"]["iou"], figures["hard"]["iou"]
once, whole = hard["all points at once"], hard["whole"]
show(Table(["stage", "easy", "hard", "what it is"],
           [[name, f"{easy[name]:.3f}", f"{hard[name]:.3f}", words]
            for name, words in STAGES.items()]))
forward = hard["whole, without the way back"]
bricks, click = hard["matched patches, there and back"], \
    hard["one click, surest mask"]
sure, best = hard["sampled, surest mask"], hard["best proposal"]
emd_only = hard["sampled, EMD"]
judged = hard["sampled, EMD, purity, coverage"]
forward_easy = easy["whole, without the way back"]
whole_easy = easy["whole"]

# %% [markdown]
# Mean IoU, from top to bottom, on the hard pairs:
#
# - Patches alone reach {=bricks:.2f}: the right place in bricks, with outliers.
# - One click at the best match already gives {=click:.2f}. It is all or nothing: on the right sticker it is good, on
#   another one it is 0.
# - Many sets *without* a good judge are worse than one click: SAM's surest mask, {=sure:.2f}, is whatever has the
#   cleanest edge. The sampler only makes candidates; it needs the scores.
# - The earth mover's distance judges by what a mask contains: {=emd_only:.2f}. Purity and coverage add where the matched
#   points lie, {=judged:.2f}; with merging the whole reaches {=whole:.2f}. An oracle that picks the best proposal would
#   reach {=best:.2f}: what is missing is in SAM's masks more than in the choice.
# - Without the way back of [[5.2]] it is {=forward:.2f}, on the easy pairs {=forward_easy:.2f} against {=whole_easy:.2f}:
#   sampler and scores forgive most of what it would have removed. How much a stage adds depends on the others; an
#   ablation is true where it was measured.
#
# ## Not there
#
# An assignment always assigns, and SAM always draws. Ask for an owl where there is none, and Matcher's answer is some
# mask. Only the score knows: nothing in the picture can be filled cheaply with an owl's patches.

# %% alt="Left the marked owl, right a frog and a cactus in the sky: no mask is drawn, the score is far below the limit." caption="An owl is looked for, there is none."
from lessons.train.matcher.report import absent_target

nowhere = absent_target(20, TEST, hard=True)
lost = model(pair.reference[None], pair.mask[None], nowhere)
there, absent = (figures["hard"][name] for name in (
    "found where it is", "not found where it is absent"))
figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.8), layout="constrained")
picture(axes[0], pair.reference, pair.mask > 0, title=pair.name)
picture(axes[1], nowhere, lost.mask & lost.found,
        title=f"score {lost.score:.2f}, asked {model.least_score:.2f}: "
              f"{'found' if lost.found else 'not found'}")
plt.show()

# %% [markdown]
# With a limit of {=model.least_score:.2f}, chosen on other scenes, {=there:.0%} of the objects that are there are found and
# {=absent:.0%} of those that are absent are not. The released code has no such limit: it always gives a mask.
#
# ## There and back, as a test
#
# Does the answer hold? Mark the target with what was found and look for *that* in the reference. If the object comes
# back to its own mask, both ways agree. Nobody needs to know the truth for this test.

# %%
back = model(pair.target[None], found.mask[None].float(), pair.reference)
round_trip = mask_iou(back.mask, pair.mask > 0)
print(f"round trip: IoU {round_trip:.2f} with the mask we drew")

# %% [markdown]
# On your own pictures: `python -m minimodels match ref.png mask.png target.png --both-ways`. With the released DINOv2
# and SAM files (`--model DINOV2_FILE,SAM_FILE`) it works on photographs.
#
# ## Where it fails
#
# The three worst of thirty hard pairs.

# %% alt="Three targets with the answer in blue and the truth outlined in white: masks that spill onto a neighbour of like colours, or miss a part of the right sticker." caption="Blue: Matcher's answer. White: the truth."
trials = []
for number in range(30):
    trial = matching.make_pair(number, TEST, hard=True)
    it = model(trial.reference[None], trial.mask[None], trial.target)
    trials.append((mask_iou(it.mask, trial.right), number, it.mask))
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.5), layout="constrained")
for axis, (value, number, mask) in zip(axes, sorted(trials)[:3]):
    trial = matching.make_pair(number, TEST, hard=True)
    picture(axis, trial.target, mask, title=f"{trial.name}, IoU {value:.2f}")
    axis.contour(trial.right.float(), levels=[0.5], colors="white")
plt.show()

# %% [markdown]
# ## Write it yourself
#
# k-means in two exercises, the earth mover's distance by crumbs, purity and coverage, merging.
#
# ::exercises
#
# ## What can go wrong
#
# - **Purity and coverage over the sampled points.** They ask about *all* matched points, whatever set a mask came from.
# - **An empty proposal.** It touches no patch; in the released code it counts as touching all of them.
# - **Filters in another order.** Each filter asks for no more than the best of *what is left* has; so the order (coverage,
#   EMD, purity) decides who is left.
# - **Another seed, another answer.** Sets are drawn by chance: k-means from torch's generator, sets from Python's. Even
#   the order of a Python set of whole numbers matters, because the draws count along it.
#
# ## In the paper and in the libraries
#
# Liu et al. 2024, section 3: bidirectional matching, the robust prompt sampler, instance-level matching and controllable
# merging. The transport is `ot.emd2` of POT (Python Optimal Transport), the assignment
# scipy's. `minimodels.matcher` gives the released code's own numbers on all its steps, in float64, to the last digits
# (`python -m tests.golden`).
