"""SAM: one picture, any prompt

A click on a picture. What is meant: the wheel, the car, or everything that is parked there? SAM, the Segment Anything
Model, reads the picture once, takes clicks, boxes and rough masks as prompts, and when a prompt may mean several
things it gives several answers, and says of each how far it trusts it.

nav: SAM
minutes: 20
needs: 2.2, 2.3, 4.1
paper: [Kirillov et al. 2023](https://arxiv.org/abs/2304.02643), section 3 and appendix A
code: minimodels/sam.py, minimodels/sam_everything.py
"""

# %% [markdown]
# ## A click has several answers
#
# The model of this page is tiny-sam: the class that loads Meta's checkpoints, with small numbers, trained on Sticker
# World. We click on the middle of a sticker that lies among others, and take all three masks that it gives for a click.
#
# ::predict
#     Training never said which of the three masks should be what. What may each of them have become?
#
#     ---
#     Whatever the targets of training were: here a click meant a sticker, sometimes a patch of one colour in it, or all
#     stickers together, or the background. Of the three answers only the best one learned each time, so that each of
#     them took a kind of answer for itself, and an answer that never wins stays useless.

# %%
import numpy as np
import torch

import minimodels
from lessons.stickers.splits import TEST
from lessons.train.sam import data as sam_data
from lessons.train.sam import report as exams

model = minimodels.load("tiny-sam")
number = 3_000_012
picture, owner = sam_data.scene(number, TEST)
sticker = sam_data.visible(owner)[0]
x, y = sam_data.middle(owner == sticker)  # deepest inside
with torch.no_grad():
    embedding = model.encode(sam_data.normalized(picture[None]))  # once
    logits, iou = model.decode(
        embedding,
        points=torch.tensor([[[[float(x), float(y)]]]]),  # (1, 1, 1, 2)
        labels=torch.tensor([[[1]]]),  # 1: it belongs to it
    )
masks = model.enlarge(logits, (64, 64), (64, 64))[0, 0] > 0  # (3, 64, 64)
print("three masks", tuple(masks.shape), "of one click")
for mask, trust in zip(masks, iou[0, 0]):
    share = mask.float().mean()
    print(f"{share:6.1%} of the picture, predicted IoU {trust:.2f}")

# %% alt="A scene with a white dot on one sticker, and beside it the same scene with each of the three masks painted over it; the mask with the highest predicted IoU covers the clicked sticker." caption="The click, and the three masks with the IoU that the model expects of each."
from lessons.book.figures import gallery
from minimodels.pixels.drawing import overlay
from minimodels.pixels.preprocess import Image

scene = Image.fromarray(picture)
clicked = picture.copy()
clicked[y - 1 : y + 2, x - 1 : x + 2] = 255
painted = [np.array(overlay(scene, mask[None])) for mask in masks]
titles = [f"predicted {trust:.2f}" for trust in iou[0, 0]]
figure = gallery([clicked, *painted], ["the click", *titles], cell=1.6)

# %% [markdown]
# The ambiguity is real: nobody can know what one click means. Averaging the possible answers would give a grey blur
# that is none of them. SAM's way is older than SAM: give several answers and **let only the best one learn**.
#
# ::source lessons.train.sam.trainer#loss nodoc
#
# How good are they, on scenes that training never saw? Every visible sticker of 150 scenes is clicked once in its
# middle, and once it gets its box:

# %%
exam = exams.make_exam(TEST, 150, start=2_000_000)
click = exams.ask(model, exam, points=exam.middles, multimask=True)
single = exams.ask(model, exam, points=exam.middles, multimask=False)
box = exams.ask(model, exam, boxes=exam.boxes, multimask=False)
best, trusted = click.best.mean().item(), click.chosen.mean().item()
boxed, ellipse = box.best.mean().item(), exams.by_box(exam).mean().item()
colour = exams.by_colour(exam).mean().item()
print(f"{len(exam.scene)} stickers; mean IoU")
print(f"click, best of three masks          {best:.3f}")
print(f"click, the mask that SAM trusts     {trusted:.3f}")
print(f"click, the single mask              {single.best.mean():.3f}")
print(f"click, region of like colours       {colour:.3f}")
print(f"box, the single mask                {boxed:.3f}")
print(f"box, the ellipse in it              {ellipse:.3f}")

# %% [markdown]
# ## How far it trusts itself
#
# Three masks are of little use unless one can be chosen without knowing the truth. A small head predicts for each mask
# the IoU that it will have. It learned that by regression: the mask was painted, its true IoU counted, and the squared
# difference was the loss. (No sigmoid stands behind it: a prediction may be 1.02.)
#
# ::predict answer="{=agreement:.2f}"
#     How well do predicted and true IoU of all these masks agree? Guess their correlation (0: not at all, 1: perfectly).
#
#     ---
#     Well enough to choose by: the mask that SAM trusts most reaches {=trusted:.3f}, the best of the three, which nobody
#     knows in practice, {=best:.3f}.

# %% alt="A scatter plot of predicted against true IoU of three masks for each sticker: the points lie along the diagonal in separate clouds for the three masks." caption="Predicted and true IoU. One colour for each of the three masks."
import matplotlib.pyplot as plt

agreement = exams.correlation(click)
figure, axis = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
for place in range(3):
    axis.scatter(click.true[:, place], click.predicted[:, place], s=6,
                 label=f"mask {place + 1}")
axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
axis.set(xlabel="true IoU", ylabel="predicted IoU")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# Which mask became what? We ask by clicks whose meaning we know, drawn as in training, and count which of the three
# fits best:

# %%
from lessons.book.diagrams import Table, show


def three_ious(wanted, places, scenes):
    """IoU of the three masks with what each click means, (N, 3)."""
    points = torch.tensor(places, dtype=torch.float)[:, None, None]
    labels = torch.ones(len(places), 1, 1, dtype=torch.long)
    with torch.no_grad():
        seen = model.encode(sam_data.normalized(np.stack(scenes)))
        found, _ = model.decode(seen, points, labels)
    target = torch.from_numpy(np.stack(wanted))[:, None]
    return exams.mask_iou(exams.enlarge(found)[:, 0] > 0, target)


asked = {"the sticker": [], "all stickers": [], "the background": [],
         "a patch of one colour": []}
chance = np.random.default_rng(0)
for number in range(120):
    shown, owners = sam_data.scene(4_000_000 + number, TEST)
    stickers = sam_data.visible(owners)
    if len(stickers) < 2:
        continue
    mine = owners == stickers[0]
    place = sam_data.any_pixel(chance, mine)
    patch = sam_data.patch(shown, mine, place)
    asked["the sticker"].append((mine, place, shown))
    asked["all stickers"].append((owners > 0, place, shown))
    beside = sam_data.any_pixel(chance, owners == 0)
    asked["the background"].append((owners == 0, beside, shown))
    if 0.15 < patch.sum() / mine.sum() < 0.75:
        asked["a patch of one colour"].append((patch, place, shown))
rows = []
for name, cases in asked.items():
    fits = three_ious(*zip(*cases))
    rows.append([name, *(f"{value:.2f}" for value in fits.mean(dim=0))])
show(Table(["a click that means", "mask 1", "mask 2", "mask 3"], rows))

# %% [markdown]
# In the real SAM the three learned to be *whole, part, and part of the part*, from masks that people and the model
# itself had drawn. Our model never saw parts with names. What it could learn is what training meant by a click.
#
# Beside the three there is a fourth mask for prompts that are clear: `multimask=False`. A box hardly ever means two
# things; several clicks neither. The fourth mask answers them.
#
# ## One picture once, prompts as tokens

# %% fold="The code of this drawing"
from lessons.book.diagrams import Drawing

drawing = Drawing(
    640,
    215,
    "The picture goes through the image encoder once; clicks, boxes become "
    "prompt tokens; both meet in the mask decoder, which gives masks and "
    "their predicted IoU; a mask can come back as a prompt",
)
image_box = drawing.box(5, 20, 90, 42, "picture", "(B, 3, S, S)")
encoder = drawing.box(125, 20, 130, 42, "image encoder", "once", tone="grey")
known = drawing.box(290, 20, 130, 42, "embedding", "(B, C, h, w)",
                    tone="blue")
clicks = drawing.box(5, 130, 110, 42, "clicks, box", "(B, P, N, 2)")
tokens = drawing.box(150, 130, 130, 42, "prompt tokens", "(B, P, N, C)",
                     tone="rust")
decoder = drawing.box(320, 130, 130, 42, "mask decoder", "each prompt",
                      tone="gold")
answer = drawing.box(500, 130, 130, 42, "masks, IoU", "(B, P, M, ...)",
                     tone="green")
drawing.arrow(image_box, encoder)
drawing.arrow(encoder, known)
drawing.arrow(known, decoder)
drawing.arrow(clicks, tokens)
drawing.arrow(tokens, decoder)
drawing.arrow(decoder, answer)
show(drawing)

# %% [markdown]
# ::predict answer="{=times:.0f}"
#     The official ViT-B: how many times more multiplications does the encoder need than the decoder for one click?
#
#     ---
#     That is the design: a heavy encoder, run once, perhaps on a server; a decoder light enough to answer every movement
#     of the mouse.

# %%
from torch.utils.flop_counter import FlopCounterMode

from minimodels.sam import SAM

with torch.device("meta"), torch.no_grad():
    official = SAM()  # ViT-B's numbers are the defaults
    with FlopCounterMode(display=False) as heavy:
        seen = official.encode(torch.empty(1, 3, 1024, 1024))
    clicks = torch.empty(1, 1, 1, 2)
    with FlopCounterMode(display=False) as light:
        official.mask_decoder(
            seen,
            official.prompt_encoder.encode_grid(),
            torch.empty(1, 1, 2, 256),  # a click and its padding point
            torch.empty(1, 1, 256, 1, 1),
        )
times = heavy.get_total_flops() / light.get_total_flops()
print(f"encoder {heavy.get_total_flops() / 2e9:.0f} billion products, "
      f"decoder {light.get_total_flops() / 2e9:.1f} billion: x {times:.0f}")

# %% [markdown]
# A click becomes a token in two steps: **where** it is, in waves, and **what it means**, one of four learned vectors
# (beside it, on it, upper left corner, lower right corner), added. A box is nothing but two points with labels of
# their own.
#
# ::source minimodels.sam.PromptEncoder.embed_points nodoc
#
# ::source minimodels.sam.PromptEncoder.encode_positions nodoc
#
# The image's own tokens get their places in the same code. So a click can find them: the product of its waves with
# those of each grid cell is large where both are the same place.

# %% alt="Three heat maps: the click's code has one bright spot at the click; the same for another click; with one frequency alone there are stripes across the picture." caption="Product of a click's waves with those of every image token; at the right with the first frequency alone."
encoder = model.prompt_encoder
grid = encoder.encode_grid()  # (h w, C)
side = encoder.grid
maps = []
for place in [(12.0, 20.0), (50.0, 44.0)]:
    code = encoder.encode_positions((torch.tensor(place) + 0.5) / 64)
    maps.append((grid @ code).view(side, side))
half = len(code) // 2
one = [0, half]  # a sine and its cosine
maps.append((grid[:, one] @ code[one]).view(side, side))
figure = gallery(
    [(m - m.min()).numpy() for m in maps],
    ["click at 12, 20", "click at 50, 44", "one frequency"],
    columns=3,
    cell=1.7,
)

# %% [markdown]
# Two details that cost hours when they are missed. The point (0, 0) is the middle of the first pixel, so **half a pixel
# is added**. And beside clicks without a box stands a **padding point**, a learned token that says "no more points".
# With a box there is none.
#
# ## The decoder looks both ways
#
# Four learned mask tokens and one for the IoU stand before the prompt's. In each of two blocks the tokens look at each
# other, then at the image, think, and then *the image looks at the tokens*: its features change with the prompt.
#
# ::source minimodels.sam.TwoWayBlock.forward nodoc
#
# Places are added anew at every attention, to queries and keys but never to values. And the very first self-attention
# sees no places and **has no residual**: its answer replaces the tokens. One would take that for a mistake; the released
# weights were trained with it.
#
# At the end each mask token becomes, through a small network of its own, the weights of a linear classifier, and that
# classifier runs over the enlarged image. A mask is a dot product a pixel.
#
# ## Where am I from here? Relative positions
#
# Besides learned absolute positions, every attention of the encoder adds to its scores a term that depends on how far
# the key lies from the query, in rows and in columns:
#
# $$
# s_{ij} = \frac{q_i \cdot k_j}{\sqrt{d}} + q_i \cdot R^{h}_{\,y_i - y_j} + q_i \cdot R^{w}_{\,x_i - x_j}
# $$
#
# ::source minimodels.sam.relative_bias nodoc
#
# Note what is divided by $\sqrt{d}$ and what is not.
#
# ::predict answer="{=saved:.0f}"
#     Official global blocks see 64 x 64 tokens. A vector for each offset in rows and columns would be a table of 127 x 127
#     rows. How many times smaller are the two tables, of 127 rows each?
#
#     ---
#     127 x 127 rows against 127 + 127. The price: the two parts are added, "three up and two left" has no vector of
#     its own.

# %% alt="Heat maps of what relative positions add to the scores of one query in the middle of the grid, for both heads of a global block of tiny-sam: crosses and bands around the query." caption="What relative positions add to the scores of the token in the middle (both heads of the last block), a scene's own queries."
saved = 127 * 127 / (127 + 127)
attention = model.image_encoder.blocks[-1].attn
states = {}
hook = attention.register_forward_pre_hook(
    lambda module, given: states.update(x=given[0])
)
with torch.no_grad():
    model.encode(sam_data.normalized(picture[None]))
    hook.remove()
    (q, k, v), size = attention.split_heads(states["x"])
    from minimodels.sam import relative_bias

    bias = relative_bias(q, attention.rel_h, attention.rel_w, size)
middle = size[0] // 2 * size[1] + size[1] // 2
seen = [head[middle].view(size) for head in bias[0]]
figure = gallery(
    [(one - one.min()).numpy() for one in seen],
    [f"head {number}" for number in range(len(seen))],
    columns=2,
    cell=1.9,
)
print(f"tables: {tuple(attention.rel_h.shape)} and "
      f"{tuple(attention.rel_w.shape)}, shared by all heads")

# %% [markdown]
# Attention over 4,096 tokens is where the encoder's memory goes: for one picture, the scores of 12 heads are 12 x 4096 x
# 4096 numbers, 0.8 GB in float32, and the bias is as large again. Nothing forces anybody to hold all heads at once. Ours
# takes a few at a time, on this size one; that needs a twelfth of the memory.
#
# Most blocks look inside windows of 14 x 14 tokens instead. 64 is no multiple of 14, so the grid is padded to 70, **with
# zeros in front of the projection**: a padded token's q, k and v are the biases, and real tokens do attend to it. Who
# masks it gets other numbers than Meta's.
#
# ## Another click
#
# An answer that is nearly right needs a second click where it is wrong, and SAM takes its own answer back as a *mask
# prompt*. In training the next click is drawn from the pixels that are wrong. (SAM was trained with many such
# rounds; ours with one, in a quarter of its steps, so do not expect too much of a third click.)
#
# ::source lessons.train.sam.data#correct nodoc

# %%
turns = exams.clicks_in_turn(model, exam, 3)
for count, value in enumerate(turns, start=1):
    print(f"{count} click{'s' * (count > 1)}: mean IoU {value:.3f}")

# %% [markdown]
# ## What small changes cost
#
# Each change leaves every shape as it is. One click, the trusted mask, the same stickers:

# %%
import copy
from contextlib import contextmanager

from minimodels.sam import PADDING, PromptEncoder, TwoWayBlock


@contextmanager
def instead(owner, name, wrong):
    """Put a wrong function in the place of a right one, for a while."""
    right = getattr(owner, name)
    setattr(owner, name, wrong)
    try:
        yield
    finally:
        setattr(owner, name, right)


def cost(**change):
    answers = exams.ask(change.get("model", model), exam,
                        points=change.get("points", exam.middles),
                        multimask=True)
    return answers.chosen.mean().item()


right_embed, right_block = PromptEncoder.embed_points, TwoWayBlock.forward


def no_padding(self, points, labels):
    tokens = right_embed(self, points, labels)
    return tokens[:, :, :-1] if (labels == PADDING).any() else tokens


def negative(self, points, labels):
    return right_embed(self, points, torch.where(labels == 1, 0, labels))


def residual(self, tokens, image, prompt, positions):
    self.first = False
    try:
        return right_block(self, tokens, image, prompt, positions)
    finally:
        self.first = self is model.mask_decoder.blocks[0]


flat = copy.deepcopy(model)
for block in flat.image_encoder.blocks:
    block.attn.rel_h.data.zero_()
    block.attn.rel_w.data.zero_()
costs = {"nothing": cost()}
costs["x and y swapped"] = cost(points=exam.middles.flip(-1))
costs["the click 4 pixels further right"] = cost(
    points=(exam.middles + torch.tensor([4.0, 0.0])).clamp(max=63)
)
with instead(PromptEncoder, "embed_points", no_padding):
    costs["no padding point"] = cost()
with instead(PromptEncoder, "embed_points", negative):
    costs["label 0 in place of 1"] = cost()
with instead(TwoWayBlock, "forward", residual):
    costs["places and a residual in the first self-attention"] = cost()
costs["relative positions set to zero"] = cost(model=flat)
show(Table(["change", "IoU"], [[n, f"{v:.3f}"] for n, v in costs.items()]))

# %% [markdown]
# ## Everything
#
# No prompt at all? Then ask everywhere: a grid of clicks, and keep of all answers those that are **sure** (predicted
# IoU), **steady** (moving the threshold hardly changes them) and **new** (non-maximum suppression drops masks whose boxes
# overlap a better one). The released thresholds are 0.88 and 0.95. Ours are lower, for a reason worth a thought: in our
# training two clicks in three meant the sticker, so even its perfect mask cannot expect an IoU near 1 of a click.

# %% alt="A scene with several stickers, each painted in a colour of its own by the automatic mask generator." caption="Everything in one picture, found by a grid of clicks."
from minimodels.sam_everything import Keep, MaskGenerator, SAMProposer

number = 3_000_021
picture, owner = sam_data.scene(number, TEST)
scene = Image.fromarray(picture)
make = MaskGenerator(
    SAMProposer(model),
    points_per_side=16,
    keep=Keep(iou=0.5, stability=0.8),
)
found = sorted(make(scene), key=lambda one: -one.area)
print(f"{16 * 16} clicks, {16 * 16 * 3} masks, {len(found)} kept; "
      f"stickers in the scene: {len(sam_data.visible(owner))}")
painted = overlay(scene, torch.from_numpy(np.stack([p.mask for p in found])))
figure = gallery([picture, np.array(painted)], ["scene", "everything"],
                 columns=2, cell=2.0)

# %% [markdown]
# ## Write it yourself
#
# The parts that are easiest to get almost right:
#
# ::exercises
#
# !!! warning "What can go wrong"
#     - **The picture as a tensor.** SAM's predictor resizes 8 bit pictures with PIL and rounds; resizing a tensor gives
#       other pixels. Then normalise, *then* pad with zeros, at the right and the bottom.
#     - **Coordinates.** Divide by the padded square's side, not by the picture's; scale x and y by the *rounded* sizes.
#     - **One interpolation.** Masks go up to the padded square, lose the padding, and then go to the picture's size: two
#       interpolations. One step gives nearly the same, and not Meta's numbers.
#     - **Two epsilons.** LayerNorm has 1e-6 in the encoder and 1e-5 in the decoder; transformers has 1e-6 in the
#       decoder's blocks as well, so the same weights give slightly other masks there.
#     - **A sigmoid on the predicted IoU.** There is none.
#     - **A hidden batch of one.** The original decoder takes one picture and its prompts. Ours takes pictures *and*
#       prompts: (B, P, ...).
#
# ## In the paper and in the libraries
#
# Kirillov et al. 2023: the task and the three masks in section 2 and 3, the architecture in appendix A (figure 14), the
# automatic generator in section 5 and appendix B. The encoder is the plain-ViT detector of Li et al. 2022; the waves are
# Tancik et al. 2020. In **segment-anything**: `sam.py`, `image_encoder.py` (`add_decomposed_rel_pos`), `prompt_encoder.py`,
# `mask_decoder.py`, `transformer.py`, `automatic_mask_generator.py`. In **transformers**: `SamModel`. On your own picture:
#
# ```sh
# python -m minimodels segment photo.jpg --point 320,200 --model sam_vit_b
# python -m minimodels segment photo.jpg --everything --model sam_vit_b
# ```
#
# SAM says where things end, and has no idea what they are. In [[5.2]] another model points at the things for it.
