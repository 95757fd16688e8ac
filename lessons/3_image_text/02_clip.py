"""CLIP: two towers that meet in one cosine

A network turns a picture into a vector, another one turns a sentence into a vector. What makes the two comparable, so
that a sentence can find its picture? This page takes CLIP apart: what each tower does, the one number in which they
meet, and why the text tower may stop long before the end.

nav: CLIP
minutes: 20
needs: 2.3, 3.1
paper: [Radford et al. 2021](https://arxiv.org/abs/2103.00020), sections 2.3 and 2.4, figure 3
code: minimodels/clip.py
"""

# %% [markdown]
# ## Two towers, one number
#
# CLIP is two models that never see each other's input. Each ends in a vector of the same length $E$; whether a picture
# $I$ and a text $T$ belong together is the cosine of their vectors, times a learned scale:

# %% fold="The code of this drawing"
from lessons.book.diagrams import Drawing, show

drawing = Drawing(
    600,
    190,
    "A picture goes through the image tower and a text "
    "through the text tower; both vectors meet in a matrix of cosines",
)
picture = drawing.box(5, 20, 105, 50, "pictures", "(B, 3, H, W)")
text = drawing.box(5, 120, 105, 50, "texts", "(T, N) ids")
see = drawing.box(150, 20, 110, 50, "image tower", "a ViT", tone="blue")
read = drawing.box(150, 120, 110, 50, "text tower", "causal", tone="rust")
u = drawing.box(300, 20, 90, 50, "length 1", "(B, E)", tone="blue")
v = drawing.box(300, 120, 90, 50, "length 1", "(T, E)", tone="rust")
drawing.arrow(picture, see)
drawing.arrow(text, read)
drawing.arrow(see, u)
drawing.arrow(read, v)
cosines = drawing.grid(
    468,
    55,
    20,
    [
        [0.9, 0.2, 0.1, 0.2],
        [0.1, 0.8, 0.3, 0.1],
        [0.2, 0.1, 0.9, 0.2],
        [0.1, 0.3, 0.1, 0.9],
    ],
    tone="green",
)
drawing.arrow(u, (462, 80))
drawing.arrow(v, (462, 108))
drawing.text(508, 35, "scale x cosine", size=11)
drawing.text(508, 152, "(B, T)", size=11, mono=True)
show(drawing)

# %% [markdown]
# $$
# \text{logits}_{bt} = e^{s} \cdot \frac{I_b \cdot T_t}{\lVert I_b \rVert \, \lVert T_t \rVert},
# \qquad I \in \mathbb{R}^{B \times E},\quad T \in \mathbb{R}^{T \times E},\quad s \in \mathbb{R}
# $$
#
# This is figure 3 of the paper, and the whole class:
#
# ::source minimodels.clip.DualEncoder nodoc
#
# $s$ is `logit_scale`, a logarithm, so that the scale stays positive however training moves it. $1/e^s$ is what the
# paper calls the temperature. The embedded model that the book trained on Sticker World has learned one of its own:

# %%
import torch
import torch.nn.functional as F

import minimodels
from lessons.stickers.exams import captioned
from lessons.stickers.splits import TEST
from lessons.train.measures import normalized

model = minimodels.load("tiny-clip")
scale = model.logit_scale.exp().item()
print(f"scale {scale:.1f}, temperature {1 / scale:.4f}")
print(
    f"{sum(p.numel() for p in model.image_tower.parameters()):,} numbers "
    "in the image tower"
)
print(
    f"{sum(p.numel() for p in model.text_tower.parameters()):,} numbers "
    "in the text tower"
)

# %% [markdown]
# Five scenes it never saw, and their captions. Each row of the matrix asks one picture, each column is one caption:

# %% alt="Five sticker scenes in a column; beside each a row of five cosines, one for each caption. The cosine of the right caption, on the diagonal, is by far the largest of its row; most of the others are small." caption="Cosines of five unseen scenes (rows) and five captions (columns, printed below)."
import matplotlib.pyplot as plt

pairs = captioned(TEST, 5, start=700_000)
image = normalized(pairs.images)  # (5, 3, 64, 64)
ids = model.tokenize(pairs.captions)  # (5, 32)
with torch.no_grad():
    logits = model(image, ids)  # (5, 5)
cosine = logits / scale

figure, axes = plt.subplots(
    5, 2, figsize=(5, 4.6), width_ratios=(1, 4.2), layout="constrained"
)
for row, (left, right) in enumerate(axes):
    left.imshow(pairs.images[row])
    left.axis("off")
    right.imshow(
        cosine[row : row + 1], vmin=-0.2, vmax=1, aspect="auto", cmap="Greens"
    )
    right.set(xticks=[], yticks=[])
    for column in range(5):
        value = cosine[row, column].item()
        right.text(
            column,
            0,
            f"{value:.2f}",
            ha="center",
            va="center",
            color="white" if value > 0.6 else "black",
        )
axes[0, 1].set_title("captions 1 to 5")
plt.show()

# %%
for number, words in enumerate(pairs.captions, start=1):
    print(f"{number}  {words}")

# %% [markdown]
# A cosine lies between -1 and 1, and a softmax over such numbers is nearly flat: it needs the scale to become decided.
# The first picture's row, as probabilities of the five captions:

# %%
for name, factor in (("scale 1", 1.0), ("learned", scale)):
    chances = (factor * cosine[0]).softmax(dim=-1)
    print(f"{name:8}", " ".join(f"{p:6.1%}" for p in chances))

# %% [markdown]
# ## The image tower: a ViT with three changes
#
# ::source minimodels.clip.ImageTower.embed nodoc
#
# ::source minimodels.clip.ImageTower.forward nodoc
#
# Beside the ViT of [[2.3]] there is one more LayerNorm *before* the first block (`norm_pre`, in section 2.4 the one
# change to the architecture), the patch layer has no bias, and in place of a classifier's head stands a matrix `proj`
# that turns the class token into the shared space. It has no bias either.
#
# ??? note "The other image tower: a ResNet that ends in attention"
#     Half of the released CLIPs see with a ResNet (RN50, RN101, RN50x4 ...). It is changed in three places: three small
#     convolutions at the start instead of one large one, average pooling wherever a stride would skip pixels, and at
#     the end, instead of the mean over all places, one attention layer in which *the mean asks all places*:
#
#     ::source minimodels.clip_resnet.AttentionPool.forward nodoc
#
#     The text tower and the cosine are the same. `checkpoints_convert` reads both kinds.
#
# ## The text tower, and where it may stop
#
# The text tower is a stack of the same blocks with a causal mask: token $i$ sees the tokens $0 \dots i$ and nothing
# behind. A caption becomes `start, words ..., end, 0, 0, 0 ...`, filled up to the context length (77 in the released
# models), and the answer is read at the end token, the only one that has seen the whole caption.
#
# ::predict answer="{=caption_tokens}"
#     The caption below becomes 77 ids. For how many of the 77 places do you have to compute anything, to get exactly
#     the same answer? (The caption is "{=caption}"; each of its words is one token.)
#
#     ---
#     Up to the end token and not one more: start, the pieces of the words, end. What stands behind it cannot be seen
#     from there, because no token looks forward.

# %%
from minimodels.words.byte_pair import BytePairTokenizer

tokenizer = BytePairTokenizer.clip()  # the one of all released CLIPs
caption = "a ladybug riding on a dog"
their_ids = tokenizer([caption])  # (1, 77)
print([tokenizer.vocabulary[i] for i in tokenizer.encode(caption)])
print(their_ids[0, :12].tolist(), "...", their_ids.shape[1], "ids")
caption_tokens = int(their_ids.argmax(dim=-1)) + 1
print("end of text after", caption_tokens, "tokens")

# %% [markdown]
# The end token has the largest id of all, so `argmax` finds it; where it stands twice, the first one counts. `forward`
# cuts all rows behind the last end token of the batch:
#
# ::source minimodels.clip.TextTower.forward nodoc
#
# ::source minimodels.clip.TextTower.encode nodoc
#
# Is it really the same? In float64, with captions of different lengths in one batch, against the run over the whole
# context:

# %%
from lessons.stickers.exams import training_scenes

captions = training_scenes(range(200), single_share=0.1, split=TEST).captions
ids = model.tokenize(captions)
tower = minimodels.load("tiny-clip", dtype=torch.float64).text_tower
with torch.no_grad():
    short = tower(ids)  # as it runs
    whole = tower.encode(ids)  # all 32 places
    whole = tower.proj(whole[range(len(ids)), ids.argmax(dim=-1)])
gap = (short - whole).abs().max().item()
lengths = (ids.argmax(dim=-1) + 1).float()
print(
    f"{len(ids)} captions of {lengths.min():.0f} to {lengths.max():.0f} "
    f"tokens; equal to 1e-12: {gap < 1e-12}"
)

# %% [markdown]
# What does it save? The text tower of ViT-B/32 at its true size, with random numbers (they cost the same): operations
# counted, and the time it took where this page was made.

# %% alt="Time and operations of the text tower against the number of places it computes, from 8 to 77, each relative to all 77. Operations rise in a straight line; time lies above them at the left and comes together with them at 77. A dot marks the length of the example caption at the left end." caption="Four captions through the text tower of ViT-B/32, one thread: processor time and operations, relative to all 77 places. The dot is the length of the caption above."
import time

from torch.utils.flop_counter import FlopCounterMode

from minimodels.clip import TextTower

torch.manual_seed(0)
big = TextTower(
    embed_dim=512,
    context_length=77,
    vocab_size=49408,
    width=512,
    depth=12,
    num_heads=8,
).eval()


@torch.no_grad()
def seconds(places):
    """Processor time for the first places."""
    began = time.process_time()
    big.encode(their_ids[:, :places].repeat(4, 1))
    return time.process_time() - began


def operations(places):
    """Multiplications and additions of the same."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        big.encode(their_ids[:, :places])
    return counter.get_total_flops()


places = [caption_tokens, 16, 32, 48, 64, 77]
rounds = [[seconds(n) for n in places] for _ in range(5)]
times = [min(column) for column in zip(*rounds)]  # the least disturbed
work = [operations(n) for n in places]
figure, axis = plt.subplots(figsize=(5, 2.4), layout="constrained")
axis.plot(places, [w / work[-1] for w in work], ":", label="operations")
axis.plot(places, [t / times[-1] for t in times], label="time")
axis.plot(places[0], times[0] / times[-1], "o", color="#b4531a")
axis.set(xlabel="places computed", xlim=(0, 80), ylim=(0, 1.1))
axis.legend(loc="lower right")
plt.show()

# %%
saved = 1 - work[0] / work[-1]
print(f"all 77 places: {work[-1] / 1e9:.1f} billion operations")
print(f"up to the end: {work[0] / 1e9:.1f} billion")

# %% [markdown]
# {=saved:.0%} of the operations were for places that nobody reads. The time saved is a little less, because the weights
# have to be fetched from memory however few places there are; with more captions at a time that matters less. This is
# why the text tower here is faster than in the reference libraries, which run over the whole context. A tower without a
# causal mask, BERT's for example, could not stop: there, the end would be seen.
#
# ## Five small mistakes and what they cost
#
# Each of these has been made, each runs without an error. `tiny-clip` names one sticker out of 64 on unseen scenes, by
# the nearest text "a dog", "a cat" ...
#
# ::predict
#     The five: QuickGELU ($x \cdot \sigma(1.702\,x)$) in place of the exact GELU with which the model was trained; no
#     `norm_pre`; the text vector read at the last place and not at the end token; texts left without normalisation;
#     pictures left without normalisation. Which of them changes no answer at all? Which is the worst?
#
#     ---
#     A picture's length multiplies all its logits alike: the largest stays the largest. A text's length does not, it
#     makes some labels louder than others. Reading the last place reads behind the end, where training never looked.

# %%
import copy

from lessons.book.diagrams import Table
from lessons.stickers.exams import singles
from lessons.stickers.sheet import CLASSES
from minimodels.blocks import QuickGELU
from minimodels.words.templates import with_article

exam = singles(TEST, rounds=2)  # 384 pictures of one sticker
exam_image = normalized(exam.images)
label_ids = model.tokenize([with_article(name) for name in CLASSES])


def right(clip, image_scaled=True, text_scaled=True, text=None):
    """The share of pictures whose nearest label is their own."""
    with torch.no_grad():
        I = torch.cat([clip.encode_image(x) for x in exam_image.split(96)])
        T = clip.encode_text(label_ids) if text is None else text
    I = F.normalize(I, dim=-1) if image_scaled else I
    T = F.normalize(T, dim=-1) if text_scaled else T
    answers = (I @ T.T).argmax(dim=1)
    return (answers == torch.from_numpy(exam.kinds)).float().mean().item()


quick, bare = copy.deepcopy(model), copy.deepcopy(model)
for block in [*quick.image_tower.blocks, *quick.text_tower.blocks]:
    block.mlp.activation = QuickGELU()
bare.image_tower.norm_pre = torch.nn.Identity()
with torch.no_grad():
    tower = model.text_tower
    last_place = tower.proj(tower.encode(label_ids)[:, -1])

show(
    Table(
        ["what was changed", "right"],
        [
            ["nothing", f"{right(model):.1%}"],
            ["QuickGELU for GELU", f"{right(quick):.1%}"],
            ["no norm_pre", f"{right(bare):.1%}"],
            [
                "text read at the last place",
                f"{right(model, text=last_place):.1%}",
            ],
            [
                "texts not normalised",
                f"{right(model, text_scaled=False):.1%}",
            ],
            [
                "pictures not normalised",
                f"{right(model, image_scaled=False):.1%}",
            ],
            ["guessing", f"{1 / 64:.1%}"],
        ],
    )
)

# %% [markdown]
# The first one is the treacherous one, because it hardly shows here. OpenAI's weights were trained with QuickGELU, most
# of open_clip's with the exact GELU, and nothing in the tensors tells which. The answers stay plausible, only the
# vectors are a little off, in deeper towers a little more:

# %% fold="The code of this figure" alt="Two curves, GELU and QuickGELU, between -4 and 2. They lie almost on top of each other; the difference, drawn below ten times enlarged, swings below and above zero, lowest near -2 and 2." caption="The exact GELU and QuickGELU; below, their difference, ten times enlarged."
x = torch.linspace(-4, 2, 401)
exact, approximate = F.gelu(x), QuickGELU()(x)
figure, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
axis.plot(x, exact, label="GELU")
axis.plot(x, approximate, "--", label="QuickGELU")
axis.plot(
    x, 10 * (approximate - exact), color="#808890", label="10 x difference"
)
axis.axhline(0, color="#c8c8c8", linewidth=0.8)
axis.legend()
plt.show()

# %%
with torch.no_grad():
    same = F.cosine_similarity(
        model.encode_image(exam_image[:64]),
        quick.encode_image(exam_image[:64]),
    )
apart = (approximate - exact).abs().max().item()
print(f"the activations differ by at most {apart:.3f}")
print(
    f"the pictures' vectors: mean cosine {same.mean():.4f}, "
    f"lowest {same.min():.4f}"
)

# %% [markdown]
# A check on a handful of pictures would not have noticed. A float64 comparison with the reference does at once
# ([[2.4]]); and our converter takes the activation from the config or from the file's format, or warns that it had to
# assume one.
#
# ## Before you write it yourself
#
# The exercises stand at the end of the page. Two symptoms that nearly everybody meets:
#
# ??? hint "Symptom: right for single texts, wrong in a batch"
#     Each row has its own end. `tokens[:, end]` with a vector `end` gives a whole (T, T) table of tokens; you need one
#     place a row: `tokens[torch.arange(T), end]`.
#
# ??? hint "Symptom: all logits between -1 and 1"
#     The scale is missing, or `logit_scale` was used without `exp`.
#
# ::quiz
#     You encode the same caption alone, and in a batch with a longer one. Do its two vectors agree?
#
#     - [ ] No: in the batch more padding is computed :: The padding stands behind its end token and is never seen from
#       there.
#     - [x] Yes, to round-off :: Causal attention: what comes behind the end token does not reach it.
#     - [ ] Only with a padding mask :: With a bidirectional tower that would be right. A causal one needs none.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | accuracy a few points below the published one | GELU and QuickGELU mixed up, or other templates ([[3.4]]) |
# | all texts get nearly the same vector | read at the last place or at the start token |
# | some labels win far too often | texts not normalised |
# | an error at another picture size | CLIP's positions know one size; CLIPSeg resizes them, CLIP itself does not |
# | too long a text | 77 ids with start and end; `truncate=True` cuts and keeps an end |
# | float16 weights, odd sums on a CPU | OpenAI's archives mix float16 and float32; the converter makes all float32 |
#
# ## The paper, and the same lines in the libraries
#
# Figure 3 is the pseudo-code of the whole model and its loss; section 2.4 describes the towers; tables 19 and 20 list
# the sizes.
#
# OpenAI's own code keeps the sequence axis first and casts LayerNorm to float32. **open_clip** has `CLIP` with
# `encode_image` and `encode_text` (`normalize=True` is an argument there); its model configs say `quick_gelu` where it
# applies, and for OpenAI's weights the name ends in `-quickgelu`. **transformers** has `CLIPModel`:
# `get_image_features` and `get_text_features` give what our `encode_*` give, the activation is `hidden_act` in the
# config, and the LayerNorm before the blocks is spelled `pre_layrnorm`, with the missing e, in every checkpoint since.
# All of them compute all 77 places of a text that is padded to 77.
