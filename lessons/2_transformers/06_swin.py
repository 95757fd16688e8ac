"""Swin: look around inside windows

A ViT compares each patch with each, so four times the patches cost sixteen times the scores: too much for the fine
grids that masks need. What if a token looked only at its neighbours? Then the cost grows with the picture and no
faster, and a new question comes up: how does news get from one end of the picture to the other?

nav: Swin
minutes: 20
needs: 2.1, 2.2, 2.3
paper: [Liu et al. 2021](https://arxiv.org/abs/2103.14030), section 3
code: minimodels/swin.py
"""

# %% [markdown]
# ## The bill
#
# Naming a picture can be done from patches of 16 x 16 pixels ([[2.3]]). Drawing the outline of a cat cannot: a mask
# with steps of 16 pixels is no outline. Swin starts from patches of 4 x 4, on a map of $h \times w$ tokens that is
# sixteen times as long. For attention over all of them, and over windows of $M \times M$ tokens, the paper counts
# multiplications (equations 1 and 2; $C$ is the width, our $D$):
#
# $$
# \Omega(\text{all}) = 4\,hw\,C^2 + 2\,(hw)^2\,C
# \qquad
# \Omega(\text{windows}) = 4\,hw\,C^2 + 2\,M^2\,hw\,C
# $$
#
# The first term is the four matrices for q, k, v and the output, one token at a time. The second is the scores and the
# mixing: in a window each token meets $M^2$ others, however large the picture is.
#
# ::predict answer="{=shorter:.0f}"
#     A picture of 224 x 224 in patches of 4 is a map of 56 x 56 tokens. Swin's windows are 7 x 7. How many times fewer
#     scores are computed inside windows than over the whole map?
#
#     ---
#     3136 tokens meet 3136 others, or 49: 3136 / 49. It is also the number of windows.
#
# A count is a promise. Does the clock keep it? Here are one layer of attention over all tokens and one inside windows,
# the width of Swin-T's first stage, on maps of growing size; processor time of one thread. Your times will be others;
# what they do from row to row will not.

# %%
import time

import torch

from minimodels.blocks import Attention
from minimodels.swin import WindowAttention, split_windows


def seconds(function, *given):
    """Processor time of one call: the fastest of seven."""
    times = []
    with torch.no_grad():
        for _ in range(7):
            start = time.process_time()
            function(*given)
            times.append(time.process_time() - start)
    return min(times)


def slower(column):
    """How many times longer 84 x 84 takes than 28 x 28."""
    return clock[84][column] / clock[28][column]


threads = torch.get_num_threads()
torch.set_num_threads(1)
torch.manual_seed(0)
everywhere = Attention(96, num_heads=3).eval()
inside = WindowAttention(96, num_heads=3, window_size=7).eval()
sides = [14, 28, 42, 56, 84]
clock = {}
for side in sides:
    tokens = torch.randn(1, side, side, 96)
    clock[side] = (
        seconds(everywhere, tokens.flatten(1, 2)),
        seconds(lambda x: inside(split_windows(x, 7)), tokens),
    )
torch.set_num_threads(threads)
shorter = 56**2 / 7**2

# %%
from lessons.book.diagrams import Table, show

rows = []
for side, (whole, local) in clock.items():
    took = [f"{1000 * spent:.1f} ms" for spent in (whole, local)]
    slow = f"{whole / local:.1f}"
    rows.append([f"{side} x {side}", f"{side**2:,}", *took, slow])
head = ["map", "tokens", "all tokens", "windows of 7", "times slower"]
show(Table(head, rows))


# %% alt="Two lines over the number of tokens, both axes logarithmic. Attention inside windows rises along a straight line of slope one; attention over all tokens is steeper and leaves it, with a slope near two at the right." caption="Processor time of one layer. Dashed: exactly linear and exactly quadratic growth from the last measured point."
import matplotlib.pyplot as plt

counts = [side**2 for side in sides]
figure, axis = plt.subplots(figsize=(6.2, 3), layout="constrained")
for column, (name, power) in enumerate(
    (("all tokens", 2), ("windows of 7 x 7", 1))
):
    measured = [1000 * clock[side][column] for side in sides]
    guide = [measured[-1] * (n / counts[-1]) ** power for n in counts]
    (line,) = axis.plot(counts, measured, marker="o", label=name)
    axis.plot(counts, guide, "--", lw=0.8, color=line.get_color())
axis.set_xscale("log")
axis.set_yscale("log")
axis.set_xticks(counts, [f"{n:,}" for n in counts])
axis.set_xticks([], minor=True)
axis.set_xlabel("tokens")
axis.set_ylabel("milliseconds")
axis.legend(loc="upper left")
plt.show()

# %% [markdown]
# On small maps the two are close: the four matrices cost the same in both. Then the square takes over. From 28 x 28 to
# 84 x 84 the tokens are 9 times as many; attention inside windows took {=slower(1):.0f} times as long (more than
# 9, because the tensors outgrow the processor's cache), attention over all tokens {=slower(0):.0f} times, on its way to
# the 81 that the square alone would take.

# %% [markdown]
# ## Windows
#
# Cutting a map into windows is cutting a picture into patches once more ([[2.3]]): rows `(row y)`, columns `(col x)`.
# What moves into the batch axis is `(b row col)`, so that to the attention each window is a picture of its own:
#
# ::source minimodels.swin.split_windows nodoc
#
# That is the whole trick, and its price is plain: *nothing ever crosses the edge of a window*. Stack as many blocks as
# you like; a dog that lies across four windows stays four pieces of a dog. So change one token, and count the blocks
# until each other token hears of it:

# %%
from minimodels.swin import SwinBlock, join_windows, same_region

torch.manual_seed(0)
blocks = [
    SwinBlock(24, num_heads=3, mlp_dim=48, window_size=4, shifted=False)
    for _ in range(8)
]
for block in blocks:
    block.double().requires_grad_(False)


def step(block, x, shift=0, masked=False):
    """One block on (1, 16, 16, D), its windows moved by `shift`."""
    moved = torch.roll(block.norm1(x), (-shift, -shift), dims=(1, 2))
    seen = same_region(16, 16, 4, shift) if masked else None
    windows = block.attn(split_windows(moved, 4), seen)
    moved = join_windows(windows, 4, 16, 16)
    x = x + torch.roll(moved, (shift, shift), dims=(1, 2))
    return x + block.mlp(block.norm2(x))


def arrival(place, **how):
    """After how many blocks each token has heard of a change; 0 never."""
    before = torch.randn(1, 16, 16, 24, dtype=torch.float64)
    after = before.clone()
    after[0, place[0], place[1]] = torch.randn(24, dtype=torch.float64)
    first = torch.zeros(16, 16)
    for number, block in enumerate(blocks, 1):
        shift = how.get("shift", 0) if number % 2 == 0 else 0
        masked = how.get("masked", False) and shift > 0
        before = step(block, before, shift, masked)
        after = step(block, after, shift, masked)
        heard = (after - before)[0].abs().sum(-1) > 1e-9
        first[heard & (first == 0)] = number
    return first


place = (8, 0)  # row and column: at the left edge
still = arrival(place)
print("tokens that heard of it after 8 blocks:", int((still > 0).sum()))

# %% [markdown]
# ## Shift
#
# Every other block therefore moves the windows by half their side. What was an edge is now a middle. (Equation 3 of the
# paper: W-MSA and SW-MSA in turn, the blocks otherwise those of [[2.2]].) Moved windows stick out over the picture, and
# cutting them to size would give nine kinds of windows instead of one. The paper's way is cheaper: leave the windows,
# **roll the map** up and to the left, so that what falls off at the top comes in again at the bottom.
#
# ::predict
#     Nothing else is done. The same token at the left edge is changed. Who hears of it after the first shifted block,
#     and should they?
#
#     ---
#     Besides its neighbours, tokens at the right edge: after the roll they share a window with it. For the picture that
#     is nonsense; from top to bottom the sky would mix with the ground. The next figure shows it in the middle.

# %% alt="Three maps of 16 x 16 tokens with the lines of the windows. Left, never shifted: only the 4 x 4 window of the changed token has numbers, all of them 1; the rest is empty. Middle, shifted without a mask: the number of blocks grows away from the token, and the right edge of the picture, far away, has small numbers too. Right, shifted and masked: the numbers grow evenly to the right." caption="Blocks until a change of the marked token arrives; dark: never. Blocks 2, 4, 6 and 8 are the shifted ones."
wrapped = arrival(place, shift=2)
masked = arrival(place, shift=2, masked=True)
figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.5), layout="constrained")
for axis, first, name in zip(
    axes,
    (still, wrapped, masked),
    ("never shifted", "rolled, no mask", "rolled and masked"),
):
    axis.imshow(first, vmin=0, vmax=8)
    axis.set_xticks([x - 0.5 for x in range(4, 16, 4)], [])
    axis.set_yticks([y - 0.5 for y in range(4, 16, 4)], [])
    axis.grid(lw=0.6)
    axis.plot(0.5, 8.5, "x", color="white")
    for y in range(0, 16, 2):
        for x in range(0, 16, 2):
            if not (number := int(first[y, x])) or (y, x) == (8, 0):
                continue
            axis.text(
                x + 0.5, y + 0.5, number,
                ha="center", va="center", fontsize=7,
                color="white" if number < 5 else "black",
            )
    axis.set_title(name, fontsize=10)
plt.show()
right_edge = {
    name: int(first[8, 15])
    for name, first in (("no mask", wrapped), ("masked", masked))
}
print("blocks until the token at the right edge hears of it:", right_edge)

# %% [markdown]
# With the shift news travels: each block carries it half a window further, {=right_edge["masked"]} blocks from edge to
# edge here. (A ViT needs one. The merges below make up for it: four tokens become one, and half a window is twice as
# far.) And without a mask it arrives at the far edge in block {=right_edge["no mask"]}, the wrong way round.
#
# So windows of the rolled map that hold pieces from both ends of the picture get a mask, $-\infty$ for pairs that never
# lay side by side ([[2.1]]). Here is a scene of 8 x 8 tokens, windows of 4, and the roll by 2:

# %% fold="The code of this figure" alt="Left: a scene with a dog, cut by two lines each way into nine unequal pieces, numbered 1 to 9. Right: the same scene rolled up and to the left. Four equal windows; the first is piece 5 alone, the second holds pieces 6 and 4, the third 8 and 2, the last 9, 7, 3 and 1." caption="Left: where the moved windows lie, nine pieces. Right: the map after the roll, four windows. Pieces that came around (1, 2, 3, 4, 7) lie at the bottom or at the right."
import numpy as np

from lessons.stickers.exams import singles
from lessons.stickers.sheet import CLASS_NUMBER
from lessons.stickers.splits import TEST

exam = singles(TEST, rounds=1)
scene = exam.images[3 * CLASS_NUMBER["dog"] + 2]  # 64 x 64 pixels
rolled = np.roll(scene, (-16, -16), axis=(0, 1))  # 2 tokens of 8 pixels
middles = ([8, 32, 56], [16, 40, 56])  # of the pieces, left and right
lines = ([16, 48], [32])
order = ([1, 2, 3, 4, 5, 6, 7, 8, 9], [5, 6, 4, 8, 9, 7, 2, 3, 1])
figure, axes = plt.subplots(1, 2, figsize=(6, 3.1), layout="constrained")
for side, (axis, picture) in enumerate(zip(axes, (scene, rolled))):
    axis.imshow(picture, interpolation="nearest", alpha=0.75)
    axis.axis("off")
    for at in lines[side]:
        axis.axhline(at - 0.5, color="white", lw=2)
        axis.axvline(at - 0.5, color="white", lw=2)
    if side:
        axis.axhline(47.5, color="white", lw=1, ls=":")
        axis.axvline(47.5, color="white", lw=1, ls=":")
    places = [(y, x) for y in middles[side] for x in middles[side]]
    for (y, x), number in zip(places, order[side]):
        axis.text(
            x, y, str(number),
            ha="center", va="center", fontsize=15,
            color="white",
            bbox={"facecolor": "black", "alpha": 0.55, "lw": 0, "pad": 2},
        )
plt.show()

# %% [markdown]
# Whoever came around lies in the last two rows or columns of the rolled map. Two questions a token, "did I come around
# at the bottom?" and "at the right?", give it one of four numbers, and two tokens of a window may look at each other
# when their numbers are equal:
#
# ::source minimodels.swin.same_region nodoc
#
# The official code numbers nine parts, as in the figure above; inside one window that is the same, and a test holds the
# two equal.
#
# ::predict answer="{=share:.0%}|1/4|64|0.25"
#     The last window, at the bottom right, holds the pieces 9, 7, 3 and 1, each of 2 x 2 tokens. Of its 16 x 16 pairs,
#     which share may see each other?
#
#     ---
#     Four pieces of 4 tokens: 4 times 4 x 4 pairs of 256.

# %% alt="Four tables of 16 x 16 pairs. The first window's is full. The second and third are half full, in a pattern of stripes and blocks. The last is a quarter full, a regular pattern of small squares." caption="Who may see whom in the four windows of the rolled map, by the pieces in them: row, the token that asks; column, the one it looks at. Light: allowed."
seen = same_region(8, 8, side=4, shift=2)
share = seen[3].float().mean().item()
figure, axes = plt.subplots(1, 4, figsize=(6.6, 2), layout="constrained")
for axis, table, name in zip(axes, seen, ("5", "6, 4", "8, 2", "9, 7, 3, 1")):
    axis.imshow(table, vmin=0, vmax=1)
    axis.set_title(name, fontsize=10)
    axis.axis("off")
plt.show()
print("allowed pairs:", [f"{part.float().mean():.0%}" for part in seen])

# %% [markdown]
# ## Where in the window
#
# A ViT adds a vector to each place of the whole picture. Swin adds a number to each *score*, which depends on the way
# from one token to the other and on the head (equation 4):
#
# $$
# \operatorname{attention}(Q, K, V) = \operatorname{softmax}\left(\frac{Q K^{\mathsf T}}{\sqrt{d}} + B\right) V
# $$
#
# In a window of $M \times M$ a way down has $2M - 1$ values, from $-(M-1)$ to $M-1$, and so has a way to the right. So
# $B$ is read from a table of $(2M - 1)^2$ rows, with the same row for every pair that lies alike:
#
# ::source minimodels.swin.relative_position_index nodoc
#
# ::source minimodels.swin.WindowAttention.bias nodoc

# %%
from minimodels.swin import relative_position_index

index = relative_position_index(2)  # tokens 0 1 above 2 3
print("a window of 2 x 2, rows of its table of 3 x 3:")
print(index.numpy())
pairs, rows = 7**4, (2 * 7 - 1) ** 2
print(f"a window of 7 x 7: {pairs:,} pairs share {rows} numbers a head")

# %% [markdown]
# Read the first row: token 0 looks at itself (row 4, the middle of the table), at its neighbour to the right (3: one
# column back from there to here), below (1), and across (0). The diagonal is 4 throughout. A bias that knows only ways
# treats all windows alike: move the picture by whole windows, and the answers of the unshifted blocks move with it,
# unchanged. A ViT's position table cannot promise that.
#
# ## Merge
#
# A pyramid has fewer and wider tokens on each floor: after each stage, four neighbours become one token of twice the
# width.
#
# ::source minimodels.swin.PatchMerging.forward nodoc
#
# The order inside, `(col row d)`, is that of the released weights: $(0,0), (1,0), (0,1), (1,1)$ in (row, column), down
# before right. Any order would do for training; for official weights one does.

# %% fold="Drawing code"
from lessons.book.diagrams import Drawing

drawing = Drawing(
    640,
    150,
    "Four stages of Swin-T at 224 pixels: 56 x 56 tokens of width 96, then "
    "28 x 28 of 192, 14 x 14 of 384, 7 x 7 of 768; between them a merge",
)
tones = ("blue", "green", "gold", "rust")
last = None
for number, (side, dim, depth) in enumerate(
    ((56, 96, 2), (28, 192, 2), (14, 384, 6), (7, 768, 2))
):
    height = 112 - 20 * number
    box = drawing.box(
        20 + 162 * number, 75 - height / 2, 104, height,
        f"{depth} blocks", f"{side} x {side} x {dim}",
        tone=tones[number],
    )
    if last is not None:
        drawing.arrow(last, box, "merge")
    last = box
show(drawing)

# %% [markdown]
# The window keeps its 7 x 7 tokens while the tokens grow, so each stage sees twice as far: 28 pixels, then 56, 112,
# and in the last stage the window is the whole picture.
#
# ## One model, two flavours
#
# There the trouble begins. When the map is no larger than one window, what should a shifted block do? The classifier
# (as released, in timm, in transformers) says: nothing to shift, everybody sees everybody already. The detection and
# segmentation code from the same authors, which LAVT uses ([[4.4]]), takes pictures of any size: it pads each map to
# whole windows and shifts *always*. The weights are the same. In our file the two differ in one method:
#
# ::source minimodels.swin.SwinBlock.shift_here nodoc
#
# ::source minimodels.swin.FittedBlock.shift_here nodoc
#
# ::predict
#     Swin-T at 224 pixels, last stage: one window of 7 x 7. With the other flavour's rule it is rolled by 3 and masked.
#     Does a token see more then, or less?
#
#     ---
#     Less: the window is cut into four pieces that cannot see each other. Nothing is gained, for there is no
#     neighbouring window. But weights trained in one way expect that way.

# %%
from minimodels.swin import Swin, SwinBackbone

small = {"embed_dim": 24, "depths": (2, 2, 2), "num_heads": (2, 4, 8)}
torch.manual_seed(0)
classifier = Swin(**small, image_size=(112, 112), num_classes=0).eval()
backbone = SwinBackbone(**small).eval()
weights = {
    name: tensor
    for name, tensor in classifier.state_dict().items()
    if not name.startswith("norm.")
}
backbone.load_state_dict(weights)
image = torch.randn(1, 3, 112, 112)
with torch.no_grad():
    ours = backbone(image)  # a map a stage
    fitted = SwinBackbone.forward(classifier, image)
for number, (a, b) in enumerate(zip(ours, fitted), 1):
    apart = (a - b).abs().max().item()
    h, w = a.shape[1:3]
    print(f"stage {number}, {h:2} x {w:2} tokens: maps differ by {apart:.2g}")
visible = same_region(7, 7, side=7, shift=3).float().mean().item()
print(f"pairs that see each other in the last map: 100% or {visible:.0%}")

# %% [markdown]
# Two stages are equal, the third is not: no shape is wrong, no error is raised, and a model that was
# trained with the other rule answers a little worse than it should. (On oblong pictures even two classifiers differ. The
# official code and transformers let the shorter side decide for both axes; timm leaves the shift out on each axis for
# itself, and pads after the roll. So a file says in whose format it is, and `Swin(each_axis=True)` follows timm.)
#
# The padding is the second trap. It comes *after*
# the norm, and padded tokens are *not* masked: their keys and values are the bias of the `qkv` layer, and every real
# token of the window sees them. How much of that there is in LAVT, 480 pixels, windows of 12:

# %%
table = []
for number, side in enumerate((120, 60, 30, 15), 1):
    padded = -(-side // 12) * 12
    maps = [f"{side} x {side}", f"{padded} x {padded}"]
    share_of = f"{1 - side**2 / padded**2:.0%}"
    table.append([f"{number}", *maps, f"{(padded // 12) ** 2}", share_of])
show(Table(["stage", "map", "padded to", "windows", "padding"], table))
empty = 1 - 15**2 / 24**2

# %% [markdown]
# In the last stage {=empty:.0%} of all tokens are padding. Whoever "cleans up" and masks them, or shrinks the window to
# the map, computes another function than the one that the weights were trained in.
#
# ::quiz
#     A Swin trained with windows of 7 is to run with windows of 12. Which of its parameters do not fit?
#
#     - [ ] The `qkv` layers: the sequences are longer :: They are applied to each token alone.
#     - [ ] `patch_proj`: the picture is larger :: It never knows how many patches there are.
#     - [x] The bias tables: (2 x 7 - 1)^2 = 169 rows are there, 529 are needed :: They are resized like a picture,
#       bicubically, one picture a head; `build(..., window_size=12)` does it.
#     - [ ] The merges: their maps are larger :: They look at 2 x 2 tokens, wherever these lie.
#
# ## Equal to the library
#
# As in [[2.4]]: a small Swin of timm with random weights, converted by the table in `checkpoints_convert/tables/swin.py`, both
# on the same picture in float64. timm keeps its merges at the *start* of the stage they lead to, everybody else at the
# end of the one they leave; that is the one row of the table that is not dull.

# %%
from timm.models.swin_transformer import SwinTransformer

from checkpoints_convert import build

theirs = SwinTransformer(img_size=112, num_classes=10, **small)
theirs = theirs.double().eval()
torch.manual_seed(1)
for parameter in theirs.parameters():  # biases are not zero, gains not one
    parameter.data += 0.1 * torch.randn_like(parameter)
mine = build(theirs.state_dict(), "swin", image_size=(112, 112))
image = torch.randn(2, 3, 112, 112, dtype=torch.float64)
with torch.no_grad():
    gap = (mine(image) - theirs(image)).abs().max().item()
print("answers", tuple(mine(image).shape), "equal to 1e-12:", gap < 1e-12)

# %% [markdown]
# The tests do it for outputs, every block and every gradient, beside timm and transformers, at odd sizes, and with
# more than twenty wrong models that must be found out.
#
# ## Write it yourself
#
# Four parts, each held against timm, and a block whose last two lines once had another order.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | the left edge of the picture influences the right one | rolled without a mask |
# | right on square maps of whole windows, wrong on others | cropped before rolling back, or height and width exchanged |
# | a little off at one picture size only | the other flavour's rule where a map fits into one window, or padding masked |
# | nonsense from the second stage on | the four tokens of a merge in another order |
# | scores nearly right everywhere | the bias added before the scale, or its index transposed |
# | a file does not fit: 169 rows, 529 wanted | a checkpoint for windows of 7, a model for windows of 12 |
#
# ## The paper, and the same lines in the libraries
#
# Section 3.1 has the pyramid and the merge, section 3.2 the windows, equations 1 to 4, figure 4 the roll. Table 4 of
# the paper takes its parts away one by one: without the shift Swin-T loses about one point on ImageNet and nearly
# three in detection and segmentation; without positions about one, and one to two. The paper's text does not say what happens when
# a map fits into one window; the code decides, and the two official codes differ.
#
# In **timm** the model is `timm.models.swin_transformer.SwinTransformer`; `always_partition=True` is the flavour that
# always shifts. One difference is its own: it pads *after* the roll, so where a map is not whole windows its numbers
# are mostly others than the official segmentation code's. In **transformers** `SwinForImageClassification` is our `Swin`, and
# `SwinBackbone` is ours of the same name, padding before the roll as we do. The classifier there remembers the shift
# that it chose for the last picture: after a small picture a large one gets another answer than before. Ours chooses
# anew each time.
