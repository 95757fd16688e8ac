"""CLIPSeg: ask CLIP where

CLIP says how well a sentence fits a picture. It was never told *where* the dog is, and its answer is a single number.
Yet its blocks must have seen the dog somewhere. CLIPSeg leaves CLIP exactly as it is, reads what its blocks know on the
way, and needs only a small decoder to paint the pixels that a prompt means.

nav: CLIPSeg
minutes: 20
needs: 2.2, 3.2, 3.4
paper: [Lueddecke and Ecker 2022](https://arxiv.org/abs/2112.10003), section 3
code: minimodels/clipseg.py
"""

# %% [markdown]
# ## CLIP's last word does not say where
#
# The obvious idea first. CLIP's image tower ends with one token a patch; only the class token is projected into the
# space of texts, but nothing forbids to project the others as well. Take the cosine of every patch with "the dog", and
# there is your map?
#
# ::predict answer="{=blind:.0%}"
#     On 200 unseen scenes, with the best threshold of forty, what IoU do such maps reach with the pixels that are meant?
#     (The whole picture painted would have {=everything:.0%}.)
#
#     ---
#     Hardly more than painting everything. Training only ever asked the class token. What the other tokens hold after
#     the last block is whatever helped the class token there, and the projection was never made for them.

# %%
import torch
import torch.nn.functional as F
from einops import rearrange

import minimodels
from lessons.stickers.splits import TEST
from lessons.train.clipseg import report as exams
from lessons.train.measures import normalized

model = minimodels.load("tiny-clipseg")  # a CLIPSeg on top of tiny-clip
tower = model.clip.image_tower
exam = exams.class_exam(TEST, 200, hard=False)  # "the dog", one a scene
image = normalized(exam.images)  # (200, 3, 64, 64)
with torch.no_grad():
    text = exams.text_prompts(model, exam)  # (200, 128)
    states = [model.embed(image)]  # before block 0, behind 0, behind 1 ...
    for block in tower.blocks:
        states.append(block(states[-1]))
    patches = tower.proj(tower.norm_post(states[-1][:, 1:]))  # (200, 64, 128)
    cosines = F.cosine_similarity(patches, text[:, None], dim=-1)
grid = rearrange(cosines, "b (h w) -> b 1 h w", h=8)
maps = F.interpolate(grid, (64, 64), mode="bilinear")[:, 0]
blind = max(
    exams.mean_iou(maps, exam, t)
    for t in torch.linspace(-0.2, 0.9, 40).tolist()
)
everything = exam.masks.float().mean().item()
print(f"cosines of the patches, at their best threshold: {blind:.1%}")
print(f"everything painted: {everything:.1%}")

# %% [markdown]
# ## What the blocks know
#
# So the end of the tower is the wrong place to ask. What about the way there? Take the tokens before the first block
# and behind each of the four blocks of tiny-clip, and give each a **linear probe**: a matrix, fitted by least squares,
# that names the sticker under a patch from that patch's token alone.

# %% fold="The code of the probes"
import numpy as np

from lessons.stickers.scenes import Dice, draw, random_scene
from lessons.stickers.splits import TRAIN


def scenes_and_labels(split, numbers):
    """Pictures, and for each patch the class it shows (-1: none)."""
    pictures, labels = [], []
    for number in numbers:
        dice = Dice(split.seed(number))
        scene = random_scene(dice, split, 1 + number % 3)
        picture, owner = draw(scene)
        cells = rearrange(owner, "(h p) (w q) -> (h w) (p q)", p=8, q=8)
        kinds = np.array([-1] + [s.kind for s in scene.stickers])
        most = [np.bincount(cell, minlength=5).argmax() for cell in cells]
        sure = [(c == m).mean() > 0.7 for c, m in zip(cells, most)]
        pictures.append(picture)
        labels.append(np.where(sure, kinds[most], -1))
    return normalized(np.stack(pictures)), torch.tensor(np.stack(labels))


@torch.no_grad()
def all_states(image):
    """Patch tokens before the first block and behind each."""
    states = [model.embed(image)]
    for block in tower.blocks:
        states.append(block(states[-1]))
    return [state[:, 1:] for state in states]


def probe(known, label, new, wanted):
    """Least squares from tokens to classes; how many new ones are right."""
    known, label = known[label >= 0], label[label >= 0]
    new, wanted = new[wanted >= 0], wanted[wanted >= 0]
    middle, spread = known.mean(dim=0), known.std(dim=0) + 1e-5
    x, z = (F.pad((one - middle) / spread, (0, 1), value=1.0)
            for one in (known, new))
    square = x.T @ x + 10 * torch.eye(x.shape[1])
    W = torch.linalg.solve(square, x.T @ F.one_hot(label, 64).float())
    return ((z @ W).argmax(dim=1) == wanted).float().mean().item()


first = 10**7
train_image, train_label = scenes_and_labels(TRAIN, range(first, first + 400))
test_image, test_label = scenes_and_labels(TEST, range(800_000, 800_150))
named = [
    probe(known, train_label, new, test_label)
    for known, new in zip(all_states(train_image), all_states(test_image))
]
for number, share in enumerate(named):
    place = f"behind block {number - 1}" if number else "before block 0"
    print(f"{place}: {share:.1%} of the patches named (guessing: 1.6%)")

# %% [markdown]
# It is all there: patch by patch, from the second block on, CLIP's tower knows what it is looking at. Nobody asked it to
# write that down in a readable way, so somebody has to learn to read it. That is the decoder. Early blocks know fewer
# names, and yet the decoder reads one of them too: further down the page we take it away and see what is lost.
#
# ## The architecture on one page

# %% fold="The code of this drawing"
from lessons.book.diagrams import Drawing, show

drawing = Drawing(
    640,
    250,
    "CLIP's image tower, frozen, in a column of blocks; three of their "
    "outputs go to a decoder of three steps, deepest first; the prompt "
    "enters at the first step through FiLM; the head makes a mask",
)
picture = drawing.box(5, 200, 92, 40, "picture", "(B, 3, H, W)")
early = drawing.box(130, 200, 120, 34, "block 3", "frozen", tone="grey")
middle = drawing.box(130, 125, 120, 34, "block 6", "frozen", tone="grey")
late = drawing.box(130, 50, 120, 34, "block 9", "frozen", tone="grey")
one = drawing.box(330, 50, 120, 34, "step 0", "FiLM, block", tone="blue")
two = drawing.box(330, 125, 120, 34, "step 1", "add, block", tone="blue")
three = drawing.box(330, 200, 120, 34, "step 2", "add, block", tone="blue")
words = drawing.box(500, 5, 125, 40, "prompt", "(B, E)", tone="rust")
mask = drawing.box(
    500, 197, 125, 40, "mask logits", "(B, H, W)", tone="green"
)
drawing.arrow(picture, early)
drawing.arrow(early, middle)
drawing.arrow(middle, late)
drawing.arrow(late, one, "768 to D")
drawing.arrow(middle, two, "768 to D")
drawing.arrow(early, three, "768 to D")
drawing.arrow(words, one)
drawing.arrow(one, two)
drawing.arrow(two, three)
drawing.arrow(three, mask, "head")
show(drawing)

# %% [markdown]
# The numbers are those of the released models: CLIP ViT-B/16, and a decoder $D$ = 64 wide, 1.1 million numbers beside
# CLIP's 150 million. The whole decoder:
#
# ::source minimodels.clipseg.Decoder.forward nodoc
#
# Three things to notice. It walks **from the deepest activation to the shallowest**, and each is *added* to what it has
# so far: a skip connection as in a U-Net, only that all of them have the same size. The **prompt enters once**, at the
# first step. And the class token walks along to the end, where it is dropped.
#
# The head makes pixels of tokens: a transposed convolution whose kernel is as large as its stride, so that each token
# fills the square of its own patch and no other. The refined releases look at the neighbours first, and enlarge in two
# steps:
#
# ::source minimodels.clipseg.refined_head nodoc
#
# ## FiLM: the prompt turns the channels up and down
#
# $$
# x' = \gamma(c) \odot x + \beta(c), \qquad \gamma, \beta \in \mathbb{R}^{D}, \quad x \in \mathbb{R}^{N \times D}
# $$
#
# From the prompt $c$, one linear layer makes a factor $\gamma$ for each channel of the decoder, another one an offset
# $\beta$ (Dumoulin et al. 2018). Every token of the picture is treated alike: the prompt does not know *where*, it only
# says which channels matter. Below, one scene and four prompts, and the factors that the prompts make:

# %% alt="One scene with stickers in the first column, then the probability maps of several prompts: for each sticker's name the map is bright on that sticker and dark elsewhere; the last prompt names something that is not there and its map is dark." caption="One scene, encoded once, and the probabilities that four prompts make of it. The last thing is not there."
from lessons.book.figures import gallery
from lessons.stickers.sheet import CLASSES

dice = Dice(TEST.seed(730_001))
scene = random_scene(dice, TEST, 3)
picture, owner = draw(scene)
names = [sticker.name for sticker in scene.stickers]
names.append(next(n for n in CLASSES if n not in names))  # not there
with torch.no_grad():
    prompts = model.encode_text(model.tokenize([f"the {n}" for n in names]))
    activations = model.encode(normalized(picture[None]))  # once
    logits = model.decode(activations, prompts[None])[0]  # (4, 64, 64)
shown = [one.sigmoid().numpy() for one in logits]
figure = gallery(
    [picture, *shown], ["the scene", *names], columns=5, cell=1.3
)
for axis in figure.axes[1:5]:
    axis.images[0].set_clim(0, 1)

# %% alt="A heat map of four rows, one for each prompt, and 64 columns, one for each channel: most factors are small, each prompt has its own few large positive and negative ones." caption="The 64 factors that FiLM makes of the four prompts: one row a prompt, one column a channel; blue below zero, red above."
import matplotlib.pyplot as plt

with torch.no_grad():
    factors = model.decoder.film_mul(prompts)  # (4, 64)
figure, axis = plt.subplots(figsize=(6.4, 1.5), layout="constrained")
top = factors.abs().max()
axis.imshow(factors, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
axis.set(yticks=range(4), yticklabels=names, xlabel="channel")
plt.show()

# %% [markdown]
# ## Eight changes and what they cost
#
# IoU on the 200 scenes of the beginning. None of these changes raises an error; every shape stays right.
#
# ::predict
#     The changes: activations one block too early; FiLM without the prompt's factors; FiLM without the prompt's offsets;
#     the shallowest activation left out; the prompt divided by its length; the prompt of another scene; QuickGELU for
#     GELU in CLIP; the class token set to zero. Which one is fatal, which is harmless?
#
#     ---
#     Fatal: whatever takes the prompt away. That the offsets do so little is worth a thought: an offset is the same for
#     all patches, and after it everything is only the block's business, while a factor changes how patches *differ*.

# %%
import copy

from lessons.book.diagrams import Table
from minimodels.blocks import QuickGELU


@torch.no_grad()
def iou(activations, prompt=text, changed=model):
    """Mean IoU of the 200 scenes from these activations."""
    logits = changed.decode(activations, prompt[:, None])[:, 0]
    return exams.mean_iou(logits.sigmoid(), exam)


with torch.no_grad():
    right = model.encode(image)
early = [states[layer] for layer in model.extract_layers]  # not layer + 1
no_factor, no_offset, quick = (copy.deepcopy(model) for _ in range(3))
no_factor.decoder.film_mul.weight.data.zero_()  # the biases stay
no_offset.decoder.film_add.weight.data.zero_()
for block in quick.clip.image_tower.blocks:
    block.mlp.activation = QuickGELU()
with torch.no_grad():
    quick_right = quick.encode(image)
deep = [torch.zeros_like(right[0]), *right[1:]]
classless = [F.pad(one[:, 1:], (0, 0, 1, 0)) for one in right]
whole = iou(right)
one_early = iou(early)
costs = {
    "nothing": whole,
    "activations one block too early": one_early,
    "FiLM's factors do not hear the prompt": iou(right, changed=no_factor),
    "FiLM's offsets do not hear the prompt": iou(right, changed=no_offset),
    "the shallowest activation set to zero": iou(deep),
    "prompts divided by their length": iou(right, F.normalize(text, dim=1)),
    "each scene asked with its neighbour's prompt": iou(
        right, text.roll(1, 0)
    ),
    "QuickGELU in place of GELU": iou(quick_right, changed=quick),
    "the class token set to zero": iou(classless),
}
show(Table(["change", "IoU"], [[n, f"{v:.1%}"] for n, v in costs.items()]))
length = text.norm(dim=1).mean().item()

# %% [markdown]
# The prompt goes in **as CLIP's projection gives it**, not divided by its length (here {=length:.0f} on average). The
# decoder was trained so, and so were the released ones, although their configuration has a switch `norm_cond` set to
# true: the code never reads it. Whoever normalises "because CLIP does" loses nearly everything.
#
# ## The trap of the layer numbers
#
# The released models read layers (3, 6, 9). Counted from where?
#
# - In the released code the tower is a loop over blocks with a number from 0, and block $i$'s **output** is kept. So
#   (3, 6, 9) is behind the 4th, the 7th and the 10th block.
# - In transformers, a tower returns `hidden_states`, which begin with the tokens *before* the first block. There the
#   same activations are numbers 4, 7 and 10, and its CLIPSeg adds the 1.
# - The paper's training files say `[3, 7, 9]`. The weights that were released go with 3, 6, 9.
#
# Here is the trap on a small tower, beside hooks, which catch what really comes out of a block:

# %%
caught = {}
hooks = [
    block.register_forward_hook(
        lambda _, __, out, number=number: caught.update({number: out})
    )
    for number, block in enumerate(tower.blocks)
]
with torch.no_grad():
    kept = model.encode(image[:2])
for hook in hooks:
    hook.remove()
for number, one in zip(model.extract_layers, kept):
    hooked = torch.equal(one, caught[number])
    same = torch.allclose(one, states[number + 1][:2], atol=1e-4)
    print(f"layer {number}: what the hook on block {number} caught: {hooked};"
          f" hidden_states[{number + 1}]: {same}")

# %% [markdown]
# One block too early still gives {=one_early:.0%} in place of {=whole:.0%} here. Plausible masks, a little worse than
# published: that is how such a mistake survives. Our test compares every activation with the reference to float64
# round-off, and a mutant with the wrong offset must fail it.
#
# ## Encode once, ask often
#
# A picture's activations do not depend on the prompt. And blocks behind the last one that is read need not run at all:
# the released models stop after 10 of CLIP's 12.
#
# ::source minimodels.clipseg.CLIPSeg.encode nodoc
#
# ::predict answer="{=ratio:.0f}"
#     Count multiplications and additions of the released model on one picture of 352 pixels: the encoder, as it runs
#     here, and the decoder for one prompt. How many times more does the encoder need?
#
#     ---
#     So a second prompt costs next to nothing, if the code lets it. transformers' model encodes the picture again for
#     every prompt: ten prompts are ten batches.

# %%
from torch.utils.flop_counter import FlopCounterMode

from minimodels.clip import CLIP
from minimodels.clipseg import CLIPSeg

with torch.device("meta"):  # true size, no memory, no time
    big = CLIPSeg(CLIP(patch_size=16))
    photo, ten = torch.empty(1, 3, 352, 352), torch.empty(1, 10, 512)


def operations(run):
    """Multiplications and additions, in billions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 1e9


encoder = operations(lambda: big.encode(photo))
whole_tower = operations(lambda: big.encode_image(photo))
with torch.no_grad():
    far = big.encode(photo)
decoder = operations(lambda: big.decode(far, ten[:, :1]))
decoder_ten = operations(lambda: big.decode(far, ten))
ratio = encoder / decoder
print(f"encoder, 10 blocks: {encoder:.1f} (all 12: {whole_tower:.1f})")
print(f"decoder, one prompt: {decoder:.2f}; ten prompts: {decoder_ten:.2f}")
often = (encoder + decoder_ten) / (10 * (whole_tower + decoder))
print(f"ten prompts on one picture: {often:.0%} of ten single runs")

# %% [markdown]
# ## Other sizes
#
# CLIP ViT-B/16 was trained on 14 x 14 patches; CLIPSeg reads 352 pixels, 22 x 22 patches. The position table is enlarged
# bicubically, its class row kept ([[2.3]] has the same idea with other details). Pictures must be square: the released
# code takes the root of the number of tokens for the side of the grid, and so do the libraries.
#
# ## Write it yourself
#
# The exercises take the decoder apart. Begin with FiLM: it is two lines, and both can go wrong.
#
# ::exercises
#
# ::quiz
#     Why does CLIPSeg need a decoder with attention blocks, and not just one linear layer from activation to mask?
#
#     - [ ] Because a linear layer cannot make a picture of tokens :: A transposed convolution is linear, and makes one.
#     - [x] Because each patch must be compared with what the prompt asks for and with its neighbours :: A linear layer
#       behind FiLM would treat every patch alone. The blocks let patches ask each other: is that piece of red part of
#       the car, or of the heart behind it?
#     - [ ] Because CLIP is frozen :: That is a reason for having a decoder, not for its kind.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | plausible masks, worse than published | activations one block off, or layers (3, 7, 9) with weights for (3, 6, 9) |
# | all masks nearly empty | the prompt was normalised |
# | masks in steps of a patch, turned or mirrored | the squares of the head laid out in the wrong order (4.1.4) |
# | every prompt gives the same mask | FiLM's factors are constant: prompt and picture batches mixed up |
# | an error about missing names when a decoder file is loaded | it holds the decoder alone; join it with a CLIP file |
# | names `reduce.weight`, `reduce.bias` left over | the released code makes them and never uses them: dropped |
#
# ## The paper, and the same lines in the libraries
#
# Figure 2 of the paper is the drawing above, section 3.1 the text to it. The released code is `CLIPDensePredT` in
# `models/clipseg.py`; its decoder blocks are `nn.TransformerEncoderLayer` (post-norm, ReLU). In **transformers** it is
# `CLIPSegForImageSegmentation` with `CLIPSegDecoder`; `decoder_hidden_act` in its config says "quick_gelu" and is
# ignored. On your own picture, with official weights:
#
# ```sh
# python -m minimodels segment photo.jpg "a cat" "grass" --model CIDAS/clipseg-rd64-refined
# ```
#
# What the decoder learned from, and how: [[4.2]].
