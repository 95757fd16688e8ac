"""ViT: a picture becomes a sentence of patches

A transformer reads a sequence of vectors; a picture is a rectangle of pixels. How does one become the other, and what
does the model know afterwards about where things were? You build the answer from two functions, watch a small trained
ViT look at stickers, and then take its sense of place away.

nav: ViT
minutes: 20
needs: 2.1, 2.2
paper: [Dosovitskiy et al. 2021](https://arxiv.org/abs/2010.11929), section 3.1
code: minimodels/vit.py
"""

# %% [markdown]
# ## Cut the picture into patches
#
# A sentence is already a sequence: one token a word. A picture of $H \times W$ pixels is not. One pixel a token would
# be too many ($224 \times 224$ pixels make 50,176 tokens, and attention compares each token with each). So the picture
# is cut into squares of $P \times P$ pixels, row by row, and each square becomes one token:
#
# ::source minimodels.blocks.split_patches nodoc
#
# The string says it all: the rows `(h ph)` and columns `(w pw)` are taken apart, the grid places `(h w)` become the
# sequence, and what is left of a patch, its colours and its pixels `(c ph pw)`, becomes one long vector. Nothing is
# computed; numbers are only moved.
#
# ::predict answer="{=base_tokens.shape[1]}|(1, {=base_tokens.shape[1]}, {=base_tokens.shape[2]})"
#     ViT-B/16 reads pictures of 224 x 224 pixels in patches of 16 x 16, and puts one more token in front of them. How
#     many tokens does its first block read?
#
#     ---
#     14 rows of 14 patches, and the class token. The last cell of this section counts them.

# %%
import torch

from lessons.stickers.exams import pictures as draw_all
from lessons.stickers.exams import singles
from lessons.stickers.sheet import CLASS_NUMBER, CLASSES
from lessons.stickers.splits import TEST
from lessons.train.measures import normalized
from minimodels.blocks import split_patches

exam = singles(TEST, rounds=4)  # every class in every size, 4 times
dog = 3 * CLASS_NUMBER["dog"] + 2  # its first big one
image = normalized(exam.images[dog : dog + 1])
print("picture", tuple(image.shape))
print("patches", tuple(split_patches(image, 8).shape))

# %% fold="The code of this figure" alt="Left: a scene with a dog sticker. Right: the same scene cut into 64 squares with gaps between them, row by row. The dog covers about a dozen of them; no single square shows a dog." caption="What the model gets: 64 squares in reading order. No square shows a dog; the sequence does."
import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange

cut = rearrange(exam.images[dog], "(h p) (w q) c -> h w p q c", p=8, q=8)
gapped = np.full((8, 8, 10, 10, 3), 255, np.uint8)
gapped[:, :, 1:9, 1:9] = cut
gapped = rearrange(gapped, "h w p q c -> (h p) (w q) c")
figure, axes = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
for axis, picture in zip(axes, (exam.images[dog], gapped)):
    axis.imshow(picture, interpolation="nearest")
    axis.axis("off")
plt.show()

# %% [markdown]
# ## The whole model, equation by equation
#
# What the paper writes in four equations is four short methods. The first makes the sequence:
#
# $$
# z_0 = [\,x_\text{class};\; x_p^1 E;\; x_p^2 E;\; \dots;\; x_p^N E\,] + E_\text{pos}
# \qquad E \in \mathbb{R}^{(P^2 \cdot 3) \times D},\quad E_\text{pos} \in \mathbb{R}^{(N+1) \times D}
# $$
#
# Each patch vector $x_p^i$ goes through the same linear layer $E$ (`patch_proj`; in the code it also has a bias). In
# front stands one learned vector, $x_\text{class}$ (`class_token`), the same for every picture: an empty seat in which
# the answer will collect. Then a learned vector is added to each place, $E_\text{pos}$ (`pos`). It is the only thing
# that tells where a patch was.
#
# ::source minimodels.vit.ViT.embed nodoc
#
# The blocks are those of [[2.2]], pre-norm: $z'_\ell = \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1}$ and
# $z_\ell = \text{MLP}(\text{LN}(z'_\ell)) + z'_\ell$ for $\ell = 1 \dots L$.
#
# ::source minimodels.vit.ViT.encode nodoc
#
# After the last block and one more LayerNorm the class token alone is read: $y = \text{LN}(z_L^0)$, and a linear head
# turns it into one score a class.
#
# ::source minimodels.vit.ViT.forward nodoc
#
# That is all. No convolution, no pooling, nothing that knows about pixels after the first line.

# %%
from minimodels.vit import ViT

base = ViT(depth=1)  # the widths of ViT-B/16; one block is enough to count
base_tokens = base.encode(torch.zeros(1, 3, 224, 224))
print("ViT-B/16 reads", tuple(base_tokens.shape), "(B, 1 + N, D)")

# %% [markdown]
# ## A ViT that knows 64 stickers
#
# `tiny-vit` is the same class with small numbers, trained by `python -m lessons.train vit` on scenes of stickers. The pictures
# below come from seeds and background textures that it never saw. A score alone says little, so others stand beside it:
# guessing, the same network before training, and two shortcuts that see no shapes. The first compares the colours of
# the whole picture with those that each class would give it; the second is an oracle that is told which pixels are the
# sticker's, and compares only their colours.

# %%
import minimodels
from lessons.book.diagrams import Table, show
from lessons.stickers.baselines import (
    colour_only_class,
    picture_colours_class,
)

model = minimodels.load("tiny-vit")
sizes = {
    key: model.about["arguments"][key]
    for key in ("image_size", "patch_size", "embed_dim", "depth", "num_heads")
}
print(sizes)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")

images = normalized(exam.images)  # (768, 3, 64, 64)
kinds = torch.from_numpy(exam.kinds)  # (768,) the right answers


@torch.no_grad()
def accuracy(classify):
    """The share of right answers over the exam."""
    answers = torch.cat(
        [classify(part).argmax(1) for part in images.split(96)]
    )
    return (answers == kinds).float().mean().item()


torch.manual_seed(0)
untrained = ViT(**model.about["arguments"]).eval()
learned = accuracy(model)
colours = picture_colours_class(exam).mean()
told_pixels = colour_only_class(exam).mean()
show(
    Table(
        ["who answers", "right of 64 classes"],
        [
            ["guessing", f"{1 / 64:.1%}"],
            ["the network, untrained", f"{accuracy(untrained):.1%}"],
            ["colours of the picture", f"{colours:.1%}"],
            ["colours, told the pixels (oracle)", f"{told_pixels:.1%}"],
            ["tiny ViT", f"{learned:.1%}"],
        ],
    )
)

# %% [markdown]
# ## Where does the class token look?
#
# Only attention can bring something into the class token's seat, so its row of attention weights says which patches it
# took from. The kernel that runs never shows these weights; `Attention.weights` computes the same ones in the open
# ([[2.1]]).

# %% alt="Four scenes, each with its sticker (a dog, a rocket, an umbrella, a crab) and below it a heat map of 8 x 8 patches: the class token's attention in the last block. Most bright patches lie on the sticker or at its edge." caption="Above: the scenes. Below: how much the class token takes from each patch, mean of the heads, in the last block."
from lessons.book.figures import gallery


@torch.no_grad()
def class_attention(vit, image):
    """What the class token takes from each patch: (blocks, B, 8, 8)."""
    x, rows = vit.embed(image), []
    for block in vit.blocks:
        weights = block.attn.weights(block.norm1(x))  # (B, heads, 65, 65)
        rows.append(weights[:, :, 0, 1:].mean(dim=1))  # (B, 64)
        x = block(x)
    return rearrange(torch.stack(rows), "l b (h w) -> l b h w", h=8)


maps = class_attention(model, images)
names = ["dog", "rocket", "umbrella", "crab"]
chosen = [3 * CLASS_NUMBER[name] + 2 for name in names]
scenes = [exam.images[n] for n in chosen]
heat = [maps[-1, n].numpy() for n in chosen]
gallery(scenes + heat, names, columns=4)
plt.show()

# %% [markdown]
# Four pictures prove nothing: they were chosen. So count over all pictures of the exam. For each block: what share of
# the class token's weight on patches goes to patches that the sticker touches, and what share would an even look give
# them?

# %%
from lessons.stickers.scenes import draw

owner = np.stack([draw(scene)[1] for scene in exam.scenes])  # (768, 64, 64)
touched = rearrange(owner, "n (h p) (w q) -> n h w (p q)", p=8, q=8).any(-1)
touched = torch.from_numpy(touched)  # (768, 8, 8)


def on_sticker(maps):
    """For each block: the share of the weight that lies on the sticker."""
    weights = maps / maps.sum(dim=(2, 3), keepdim=True)
    return [(w * touched).sum(dim=(1, 2)).mean().item() for w in weights]


even = touched.float().mean().item()
shares = on_sticker(maps)
before = on_sticker(class_attention(untrained, images))
show(
    Table(
        ["block", "trained", "untrained", "even look"],
        [
            [
                str(n + 1),
                f"{shares[n]:.0%}",
                f"{before[n]:.0%}",
                f"{even:.0%}",
            ]
            for n in range(len(shares))
        ],
    )
)

# %% [markdown]
# An attention map shows where a token took something from, not why, and not whether it mattered. It is a way to look,
# not a proof.
#
# ## Does it matter where the patches are?
#
# Attention is a weighted mean over a set: reorder the tokens and each token's answer stays the same ([[2.1]]). The
# order enters at one place only, `+ self.pos`. So there are three ways to disturb it:
#
# 1. **Shuffle the patches** and leave the positions where they are: the picture itself is torn up.
# 2. **Drop the positions**: add the same vector (their mean) everywhere. Each patch is whole, and nobody knows where it
#    was.
# 3. **Shuffle both together**: each patch keeps its own position vector, and the sequence is in another order.
#
# ::predict
#     Untouched, the tiny ViT is right in {=learned:.1%} of the pictures. How often is it right in each of the three
#     cases? Write down three numbers before you go on, and say which of them you are sure of.
#
#     ---
#     Only case 3 could be known beforehand: exactly the same answers. A transformer has no first and last token, it has
#     tokens with positions written into them. Cases 1 ({=torn:.1%}) and 2 ({=lost:.1%}) are a question to this model
#     and this task, and most people guess far too low.

# %%
order = torch.randperm(64, generator=torch.Generator().manual_seed(1))


def classify(image, patch_order=None, pos=model.pos):
    """ViT.forward spelled out, with a hand on the order and the positions."""
    patches = model.patch_proj(split_patches(image, 8))  # (B, N, D)
    if patch_order is not None:
        patches = patches[:, patch_order]
    first = model.class_token.expand(len(image), 1, -1)
    x = torch.cat([first, patches], dim=1) + pos  # (B, 1 + N, D)
    for block in model.blocks:
        x = block(x)
    return model.head(model.norm(x[:, 0]))  # (B, C)


class_pos, patch_pos = model.pos[:1], model.pos[1:]
nowhere = torch.cat([class_pos, patch_pos.mean(0).expand(64, -1)])
moved = torch.cat([class_pos, patch_pos[order]])

whole = accuracy(classify)
torn = accuracy(lambda image: classify(image, order))
lost = accuracy(lambda image: classify(image, pos=nowhere))
together = accuracy(lambda image: classify(image, order, moved))
show(
    Table(
        ["what was done", "right"],
        [
            ["nothing", f"{whole:.1%}"],
            ["1. patches shuffled", f"{torn:.1%}"],
            ["2. positions dropped", f"{lost:.1%}"],
            ["3. both shuffled alike", f"{together:.1%}"],
            ["for comparison: colours of the picture", f"{colours:.1%}"],
        ],
    )
)

# %% alt="Left: the scene with the dog. Right: the same 64 squares in random order; the dog is in pieces all over the picture. The title gives the model's answer for each." caption="What case 1 feeds the model, and what it answers."
torn_picture = rearrange(cut, "h w p q c -> (h w) p q c")[order]
torn_picture = rearrange(torn_picture, "(h w) p q c -> (h p) (w q) c", h=8)
with torch.no_grad():
    both = torch.cat([classify(image), classify(image, order)])
said = [CLASSES[number] for number in both.argmax(1)]
gallery([exam.images[dog], torn_picture], said, columns=2, cell=2.4)
plt.show()

# %% [markdown]
# To name one sticker, a bag of patches is enough: eyes, fur and colours of a dog are on single patches, and the last
# row shows how far even colours alone would go. Training rewards what lowers the loss; nothing asked this model where a
# part lies, so it hardly learned to use it. Larger models on photographs lean the same way: in the paper's own
# comparison (appendix D.4) a ViT without any position embedding loses about three points on ImageNet, no more.
#
# So are positions worth little? No. They are the only way to *ever* learn anything about places. Without them a picture
# and its torn version are the same set of vectors, and get the same answer from every transformer, however long it is
# trained:


# %%
def largest_change(pos):
    """How far the scores move when the picture is torn up."""
    with torch.no_grad():
        change = classify(images[:64], pos=pos) - classify(
            images[:64], order, pos
        )
    return change.abs().max().item()


print(
    f"scores lie between {both.min().item():.0f} and {both.max().item():.0f}"
)
print(
    "with positions, tearing moves them by up to "
    f"{largest_change(model.pos):.1f}"
)
print(f"without, by round-off only: {largest_change(nowhere) < 1e-3}")

# %% [markdown]
# A question such as "is the dog left of the tree?" has no answer there. Remember this page in [[3.3]], where a model
# *has* positions, and still does not learn to answer it.
#
# What `pos` learned all the same can be looked at. Its vectors started as noise, and nobody told the model that patch 9
# lies below patch 1. In ViTs trained on photographs each place's vector ends up most like those of its neighbours, its
# row and its column (the paper's figure 7). What happened here?


# %% alt="Four maps of 8 x 8 places. Each shows how alike the position vector of one place, named in its title, is to all others. For places near the border a whole square ring is bright: all places equally far from the border. For a place in the middle the middle is bright." caption="Cosine of one place's vector with all 64, the mean over all places taken off before; the darkest colour is zero or less."
def likeness(table):
    """Cosine of each place's vector with each other's: (places, places)."""
    centred = table.detach() - table.detach().mean(0)
    unit = torch.nn.functional.normalize(centred, dim=-1)
    return unit @ unit.T


alike = rearrange(likeness(patch_pos), "i (h w) -> i h w", h=8)
places = [(1, 1), (1, 6), (4, 3), (6, 5)]
pictures = [
    alike[8 * row + column].clamp(min=0).numpy() for row, column in places
]
gallery(pictures, [f"row {r + 1}, column {c + 1}" for r, c in places])
plt.show()

# %% [markdown]
# Rings: places that lie equally far from the border are alike. No sticker of this world is cut off by the border, so a
# patch in the middle shows one far more often than a patch at the edge. That is the one thing about places that helped
# to lower the loss, and it is the one thing `pos` has learned.
#
# ## Another resolution
#
# The patches do not care how many they are; the position table does, with its one row a place. For a larger picture the
# table is treated as what it is, a small image of $h \times w$ pixels with $D$ channels, and resized like one (section
# 3.2 of the paper):
#
# ::source minimodels.vit.ViT.positions nodoc
#
# ::source minimodels.blocks.resize_positions nodoc
#
# A table of the right shape is easy to get in wrong ways too. Repeat the rows in reading order until there are enough,
# and nothing complains. So look at what a table should keep: that neighbours are alike and distant places are not.


# %%
def neighbours(table, side):
    """Mean cosine of places one step apart, and half the picture apart."""
    row, column = torch.arange(side**2) // side, torch.arange(side**2) % side
    steps = (row[:, None] - row).abs() + (column[:, None] - column).abs()
    near, far = (
        likeness(table)[steps == 1],
        likeness(table)[steps >= side - 2],
    )
    return f"{near.mean():.2f}", f"{far.mean():.2f}"


@torch.no_grad()
def right_at(side, table):
    """Right answers in one round of the exam, drawn side x side pixels."""
    image = normalized(draw_all(exam.scenes[:192], side))
    pos = torch.cat([class_pos, table])
    parts = [classify(part, pos=pos).argmax(1) for part in image.split(48)]
    return f"{(torch.cat(parts) == kinds[:192]).float().mean():.1%}"


resized = model.positions((12, 12))[1:]  # for 96 x 96 pixels
repeated = patch_pos.repeat(3, 1)[: 12 * 12]
show(
    Table(
        ["pictures", "positions", "neighbours", "far apart", "right"],
        [
            [
                "64 x 64",
                "as learned",
                *neighbours(patch_pos, 8),
                right_at(64, patch_pos),
            ],
            [
                "96 x 96",
                "resized",
                *neighbours(resized, 12),
                right_at(96, resized),
            ],
            [
                "96 x 96",
                "repeated",
                *neighbours(repeated, 12),
                right_at(96, repeated),
            ],
        ],
    )
)

# %% [markdown]
# Resizing keeps the neighbourhood; repeating destroys it. The last column shows how such a mistake survives: this task
# does not need places, so its score says nothing about the table. A score is a poor test of a part that the score does
# not need. How to test a part properly is the subject of [[2.4]].
#
# Which way of resizing is right is decided by the weights you load: timm smooths when it shrinks the table
# (`antialias=True`), transformers does not. Our `ViT` takes it as an argument.
#
# ## Before you write it yourself
#
# The exercises stand at the end of the page. Two symptoms that nearly everybody meets:
#
# ??? hint "Symptom: all shapes are right, and the result looks like noise"
#     Rearranging to `(ph pw c)` and not `(c ph pw)` gives vectors of the same length with their numbers in another
#     order. A patch layer trained with one order reads nonsense in the other. `reshape` straight to `(B, N, 3 P P)` is
#     worse still: it cuts the picture into stripes, not squares.
#
# ??? hint "Symptom: right on square pictures, wrong on others"
#     Height and width are exchanged somewhere. Test with 16 x 24 pixels, never with squares alone.
#
# ::quiz
#     A ViT was trained at 224 pixels with patches of 16. You feed it 384 x 384. Which of its parameters does not fit?
#
#     - [ ] `patch_proj`, because there are more patches :: It is applied to each patch alone; it never knows how many
#       there are.
#     - [ ] The attention layers, because the sequence is longer :: Their matrices have the shape D x D, whatever the
#       length.
#     - [x] `pos`, because it has one row a place :: 1 + 14 x 14 rows are there, 1 + 24 x 24 are needed: it has to be
#       resized.
#     - [ ] The head, because it counts tokens :: It reads the class token alone.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | the model never learns anything about places | positions not added, or added after the blocks; naming single objects will not show it |
# | all pictures get the same class | the head reads a patch (`[:, 1]`) or the class token was appended and index 0 is a patch |
# | official weights give other answers by a little | LayerNorm eps: timm's files want 1e-6, transformers' 1e-12 ([[2.4]]) |
# | official weights give nonsense | mean and std of the pictures: 0.5 for many ViTs, ImageNet's for others, CLIP's for CLIP |
# | an error about the number of positions | another picture size without resized positions |
#
# ## The paper, and the same lines in the libraries
#
# Section 3.1 has equations 1 to 4, section 3.2 the resizing, figure 7 the positions and the attention. The paper's
# model keeps a second hidden layer in the head during pre-training; released classifiers have one linear layer, as
# here.
#
# In **timm** the model is `timm.models.vision_transformer.VisionTransformer`: `patch_embed` is a convolution with
# stride $P$ (the same numbers as our linear layer, kept as a square kernel), `_pos_embed` is the second half of our
# `embed`, `forward_features` is `encode`, and `forward_head` the rest. Its `global_pool="avg"` is our `mean_pool`. In
# **transformers** it is `ViTForImageClassification` around a `ViTModel`; q, k and v are three layers there, and another
# picture size must be asked for (`interpolate_pos_encoding=True`). How the names are matched is the next lesson,
# [[2.4]].
