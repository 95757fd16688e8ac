"""LAVT: every word speaks with every pixel

"The dog on the left." CLIPSeg squeezes the sentence into one vector and asks a finished encoder with it. LAVT does it
the other way round: after each stage of the image encoder, every position of the picture asks every word of the
sentence, and what it hears goes on into the next stage. The picture is *seen* with the sentence in mind.

nav: LAVT
minutes: 20
needs: 2.6, 2.7, 4.1
paper: [Yang et al. 2022](https://arxiv.org/abs/2112.02244), section 3
code: minimodels/lavt.py
"""

# %% [markdown]
# ## One picture, two sentences
#
# Scenes with two stickers of one class: two dogs, two cars. "The red car" means one of them, "the blue car" the other;
# or "the biggest dog" and "the smallest dog"; or "the dog on the left" and "the dog on the right"; or "the dog left of
# the tree" and "the dog above the tree". Whoever reads the noun alone cannot tell them apart.
#
# ::predict answer="{=clipseg_place:.0%}"
#     On unseen scenes, how often does tiny CLIPSeg of [[4.1]], whose CLIP has read captions such as "a dog left of a
#     tree", paint more of the dog that is meant when it is told its place? (Drawing between the two is right in 50 %.)
#
#     ---
#     Its prompt is one vector for the whole sentence, FiLM treats all positions alike, and CLIP had little reason to
#     keep track of left and right. Word order went the same way in [[3.3]].

# %% fold="Finding the pairs"
import numpy as np
import torch

import minimodels
from lessons.book.diagrams import Drawing, Table, show
from lessons.stickers.splits import TEST
from lessons.train.lavt import report as exams
from lessons.train.lavt.data import every_way
from lessons.train.measures import normalized

model = minimodels.load("tiny-lavt")
clipseg = minimodels.load("tiny-clipseg")


def pairs_of(kind, count):
    """Scenes, and two sentences of one kind that mean two of a class."""
    found, exam = [], exams.make_exam(kind, TEST, 2 * count)
    for image, owner, one in zip(exam.images, exam.owners, exam.asked):
        names = [sticker.name for sticker in one.scene.stickers]
        ways = [
            way for way in every_way(one.scene)
            if way.kind == kind and way.target != one.target
            and names[way.target] == one.noun
        ]
        if ways:  # the one with the most words in common
            words = set(one.text.split())
            other = max(ways, key=lambda w: len(words & set(w.text.split())))
            found.append((image, owner, one, other))
    return found[:count]


PAIRED = ("attribute", "extreme", "place", "relation")
pairs = {kind: pairs_of(kind, 30) for kind in PAIRED}
images = {kind: np.stack([p[0] for p in pairs[kind]]) for kind in PAIRED}
asked = {
    kind: [[p[which].text for p in pairs[kind]] for which in (2, 3)]
    for kind in PAIRED
}

# %%
def follows(kind, masks, which):
    """How often more is painted of the one that a sentence means."""
    points = []
    for mask, pair in zip(masks.numpy(), pairs[kind]):
        shares = [mask[pair[1] == pair[n].target + 1].mean() for n in (2, 3)]
        points.append(float(shares[which] > shares[1 - which]))
    return np.mean(points)


by_lavt, by_clipseg, rows = {}, {}, []
for kind in PAIRED:
    by_lavt[kind] = [
        exams.predict(model, images[kind], texts) > 0
        for texts in asked[kind]
    ]
    by_clipseg[kind] = [
        exams.clipseg_masks(clipseg, images[kind], texts)
        for texts in asked[kind]
    ]
    shares = [
        np.mean([follows(kind, masks[n], n) for n in (0, 1)])
        for masks in (by_clipseg[kind], by_lavt[kind])
    ]
    example = " / ".join(texts[0] for texts in asked[kind])
    rows.append([example, *(f"{share:.0%}" for share in shares)])
clipseg_place = np.mean(
    [follows("place", by_clipseg["place"][n], n) for n in (0, 1)]
)
head = ["two sentences, for instance", "tiny CLIPSeg", "tiny LAVT"]
show(Table(head, rows))

# %% hide-input alt="Six scenes, one a row. In each row the scene, then what tiny LAVT paints for two sentences that mean two different stickers of one class, and what tiny CLIPSeg paints for the same two." caption="The same picture and two sentences that differ in a word or two. The first scenes of each kind, not chosen."
from lessons.book.figures import gallery

pictures, titles = [], []
for kind in PAIRED:
    for n in range(1 + (kind in PAIRED[2:])):
        masks = [m[n] for m in (*by_lavt[kind], *by_clipseg[kind])]
        pictures += [images[kind][n]]
        pictures += [mask.numpy().astype(float) for mask in masks]
        texts = [texts[n] for texts in asked[kind]]
        titles += ["the scene", *(f"LAVT:\n{text}" for text in texts)]
        titles += [f"CLIPSeg:\n{text}" for text in texts]
figure = gallery(pictures, titles, columns=5, cell=1.28, size=6)

# %% [markdown]
# ## Where language enters
#
# The image side is a Swin ([[2.6]]): stages of windowed attention, each with a coarser map and more channels than the
# one before. Beside it stands BERT ([[2.7]]), and all of its last states are used: one vector a word, `[CLS]` and
# `[SEP]` among them.

# %% fold="The code of this drawing"
drawing = Drawing(
    640,
    330,
    "A stage of Swin gives V; PWAM mixes words into it and gives F. F goes "
    "through a norm to the decoder, and through a gate, added to V, on to "
    "the next stage. BERT's words enter at PWAM of every stage. The decoder "
    "runs back from the coarsest map to the finest",
)
picture = drawing.box(5, 10, 110, 36, "picture", "(B, 3, H, W)")
stage = drawing.box(150, 10, 120, 36, "stage i", "Swin blocks", tone="grey")
pwam = drawing.box(150, 105, 120, 36, "PWAM", "F_i", tone="rust")
words = drawing.box(5, 105, 110, 36, "BERT", "(B, T, 768)", tone="grey")
gate = drawing.box(320, 105, 110, 36, "gate", "-1 ... 1", tone="gold")
total = drawing.box(320, 10, 110, 36, "E_i", "V + gate x F")
merge = drawing.box(500, 10, 130, 36, "merge", "to stage i + 1", tone="grey")
norm = drawing.box(150, 195, 120, 36, "norm", "N_i")
step = drawing.box(
    320, 195, 130, 36, "decoder step", "Y_i", tone="blue"
)
coarse = drawing.box(500, 195, 130, 36, "Y_(i+1)", "coarser map")
head = drawing.box(
    320, 280, 130, 36, "two classes", "(B, 2, H, W)", tone="green"
)
drawing.arrow(picture, stage)
drawing.arrow(stage, pwam, "V_i")
drawing.arrow(words, pwam)
drawing.arrow(pwam, gate)
drawing.arrow(stage, total)
drawing.arrow(gate, total)
drawing.arrow(total, merge)
drawing.arrow(pwam, norm)
drawing.arrow(norm, step)
drawing.arrow(coarse, step)
drawing.arrow(step, head, "i = 1")
show(drawing)

# %% [markdown]
# The whole walk, with every map under the name it has in the paper:
#
# ::source minimodels.lavt.LAVT.maps nodoc
#
# Two ways lead out of a stage. The decoder gets $F_i$, words and picture mixed, through a LayerNorm of its own. The
# next stage gets $E_i$: the picture $V_i$, plus as much of $F_i$ as a gate lets through. After the last stage nothing
# follows that could read $E_i$. The official files hold weights for a gate there all the same; we load them, so that
# every name has its place, and never compute it.
#
# ## PWAM: each position asks the words
#
# $$
# q = \operatorname{norm}(W_q V), \qquad
# G = \operatorname{norm}\left(W_o \operatorname{softmax}\left(\frac{q\,(W_k L)^{\mathsf T}}{\sqrt{C}}\right)
# W_v L\right), \qquad
# F = \operatorname{GELU}\left(W_f \left(\operatorname{GELU}(W_m V) \odot G\right)\right)
# $$
#
# ::source minimodels.lavt.PWAM.forward nodoc
#
# It is cross attention: queries are positions, keys and values are words. $G$ is a map as large as the picture's and
# made of nothing but words. It is then *multiplied* with the picture, position by position: a gate again, the kind that
# FiLM is, but with another factor at every place.
#
# Three details that the formula hides:
#
# - The scale is $\sqrt{C}$ with $C$ all channels, even where PWAM has several heads. With one head, as in all released
#   models, nobody can tell.
# - `norm` is an **instance norm**: each channel of each picture to mean 0 and variance 1 *over its positions*, with
#   nothing learned and nothing remembered. A channel can then only say where it is larger than elsewhere in this
#   picture. And a map with a single position has no elsewhere: a picture that ends as 1 x 1 is refused.
# - Padded words are masked before the softmax. `[CLS]` and `[SEP]` are not padding: they are words like others.
#
# ## Which word does a position listen to?
#
# The weights can be looked at. They sum to one over the words, so a map for each word shows where it is heard:

# %% alt="A row of small heat maps for each stage, one map for each token of the sentence from CLS to SEP; some tokens are heard on the stickers, others on the background." caption="Weights of PWAM: for each stage (rows) and token (columns), how much each position takes from it. The first picture is the scene; each row has one colour scale."
example = asked["place"][0][0]
words_of = ["[CLS]", *example.split(), "[SEP]"]
ids, mask = model.tokenize([example])
image = normalized(images["place"][:1])
with torch.no_grad():
    words = model.encode_text(ids, mask)
    maps = model.maps(image, words, mask)
shown, names = [], []
for i, pwam_of in enumerate(model.fusions, 1):
    with torch.no_grad():
        visual = maps[f"V_{i}"].permute(0, 2, 3, 1)
        weights = pwam_of.weights(visual, words, mask)[0].mean(0)
    heard = [one.numpy() for one in weights.unbind(-1)]
    shown += [images["place"][0], *heard]
    names += [f"stage {i}", *words_of]
figure = gallery(shown, names, columns=len(words_of) + 1, cell=0.98, size=7)
for row in range(len(model.fusions)):
    axes = figure.axes[row * (len(words_of) + 1) + 1:][:len(words_of)]
    top = max(axis.images[0].get_array().max() for axis in axes)
    for axis in axes:
        axis.images[0].set_clim(0, top)

# %% [markdown]
# Read such maps with care. A word's vector in BERT has already heard all the others: "left" at the place of "dog" is
# nothing unusual, and `[SEP]` often stands for the whole sentence. Weights say what was looked at, not what it was
# used for. A better question: what happens if a stage hears *another sentence*?
#
# ## Where does the choice fall?
#
# Each PWAM gets its words separately, so one stage can be told "the red car" while all others hear "the blue car". Whom
# does the mask follow?
#
# ::predict
#     Which stage decides, the first, where maps are fine and nothing but colours and edges is known, or the last, where
#     each position sees the whole picture? And is it the same for a colour, a size and a place?
#
#     ---
#     The table says it for this model. A stage can only answer what its positions know: to be "on the left" of another
#     dog, or bigger than another dog, is nothing that a small window of the first stage can see.

# %%
stages = len(model.fusions)


@torch.no_grad()
def with_other_words(kind, where):
    """Masks when the stages in `where` hear the second sentence."""
    ids, mask = model.tokenize(asked[kind][0])
    other, real = model.tokenize(asked[kind][1])
    other = model.encode_text(other, real)
    hooks = [
        model.fusions[i].register_forward_pre_hook(
            lambda module, given: (given[0], other, real)
        )
        for i in where
    ]
    logits = model(normalized(images[kind]), ids, mask)
    for hook in hooks:
        hook.remove()
    return logits[:, 1] > logits[:, 0]


WHERE = {"none": []}
WHERE |= {f"stage {i + 1} alone": [i] for i in range(stages)}
WHERE["all"] = range(stages)
rows = [
    [name, *(f"{follows(kind, with_other_words(kind, where), 1):.0%}"
             for kind in PAIRED)]
    for name, where in WHERE.items()
]
show(Table(["the other sentence is heard by", *PAIRED], rows))

# %% [markdown]
# ## The maps called Y
#
# The decoder begins with the coarsest map and enlarges it step by step, each time with the finer $N_i$ beside it. Its
# outputs are $Y_3$, $Y_2$, $Y_1$ in the paper's figure 2 (four stages; tiny LAVT has {=stages}), and the last one is
# what the two class logits are read from.
#
# ::source minimodels.lavt.DecoderStep.forward nodoc
#
# If somebody asks you to draw "Y1", ask back. In the figure $Y_1$ is the decoder's **last** map. In the comments of the
# released code the decoder's **inputs** are called Y1 to Y4, and there Y1 is the normalised $F_1$, which knows nothing
# of the coarser stages yet. `LAVT.maps` has both, as "Y_1" and "N_1":

# %% alt="Four sentences, one a row. Each row shows the scene, the mask, the first channel and the mean over channels of the decoder's last map, and the same two of the normalised F_1. The decoder's map differs from sentence to sentence, most where stickers are; the normalised F_1 hardly differs." caption="One picture, four sentences. Y_1 of the paper's figure is the decoder's last map; what the released code's comments call Y1 is N_1. Each map has its own colour scale, dark is low."
from minimodels.lavt import READINGS_OF_Y1

image, owner, first, second = pairs["place"][1]
others = [t.name for t in first.scene.stickers if t.name != first.noun]
four_texts = [first.text, second.text, f"the {others[0]}",
              f"the {first.noun}"]
four = np.repeat(image[None], 4, axis=0)
ids, mask = model.tokenize(four_texts)
with torch.no_grad():
    maps = model.maps(normalized(four), model.encode_text(ids, mask), mask)
painted = maps["logits"][:, 1] > maps["logits"][:, 0]
shown, titles = [], []
for row, sentence in enumerate(four_texts):
    shown += [image, painted[row].numpy().astype(float)]
    titles += ["the scene", sentence]
    for reading in READINGS_OF_Y1.values():
        shown += [maps[reading][row, 0], maps[reading][row].mean(0)]
        titles += [f"{reading}, channel 0", f"{reading}, mean"]
figure = gallery(shown, titles, columns=6, cell=1.06, size=6.5)
for number, axis in enumerate(figure.axes):
    if number % 6 > 1:
        axis.images[0].autoscale()


def between(name):
    """How far the first two sentences' maps are apart, in spreads."""
    a, b = maps[name][0], maps[name][1]
    return ((a - b).square().mean().sqrt() / a.std()).item()


apart_y, apart_n = between("Y_1"), between("N_1")
print(f"left against right: Y_1 {apart_y:.2f}, N_1 {apart_n:.2f} spreads")

# %% [markdown]
# A single channel need not show anything: what the head reads is spread over all {=maps["Y_1"].shape[1]} of them. The
# two readings differ: between "{=four_texts[0]}" and "{=four_texts[1]}", $Y_1$ moves by {=apart_y:.2f} of its
# spread and $N_1$ by {=apart_n:.2f}. (Not every mask need be right: [[4.5]] is about those that are not.)
#
# ## Nine changes and what they cost
#
# Every shape stays right in all of them. IoU with the pixels that are meant, on {=len(some.asked)} sentences
# that must choose: by colour or size, by place, by comparing sizes, by a neighbour.
#
# ::predict
#     The changes: padding is not masked; scores not scaled; the gate left out; nothing of the words goes on to the next
#     stage; the decoder reads $E_i$; no instance norm on the query; no instance norm on what the words gave; enlarging
#     with align_corners off; every scene gets the next one's sentence. Which are fatal, which hardly show?
#
#     ---
#     Those that hardly show are the dangerous ones. A model that loses a percent or two raises no suspicion: such a
#     port is found by comparing numbers with the original, and by nothing else.

# %%
import torch.nn.functional as F

from minimodels import lavt

parts = [exams.make_exam(k, TEST, 30) for k in exams.CHOICES]
some = exams.Exam(
    np.concatenate([part.images for part in parts]),
    np.concatenate([part.owners for part in parts]),
    [one for part in parts for one in part.asked],
)
real_norm, real_decode = lavt.instance_norm, lavt.LAVT.decode
real_pwam = lavt.PWAM.forward


def iou(texts=some.texts):
    """Mean IoU on these scenes."""
    found = exams.predict(model, some.images, texts) > 0
    return exams.ious(found, some).mean().item()


def changed(where, name, value):
    """IoU with one attribute exchanged for the moment."""
    kept = getattr(where, name)
    setattr(where, name, value)
    try:
        return iou()
    finally:
        setattr(where, name, kept)


def norm_only(which):
    """Leave out one of the two instance norms: they come in turn."""
    calls = iter(range(10**6))
    return lambda x: x if next(calls) % 2 == which else real_norm(x)


def reads_e(self, maps, size):
    """The decoder with the norm of E_i in place of F_i."""
    for i, norm in enumerate(self.norms[:-1], 1):
        e = maps[f"E_{i}"].permute(0, 2, 3, 1)
        maps[f"N_{i}"] = norm(e).permute(0, 3, 1, 2)
    return real_decode(self, maps, size)


def no_corners(x, size):
    return F.interpolate(x, size=tuple(size), mode="bilinear")


def all_words(self, visual, words, mask):
    return real_pwam(self, visual, words, torch.ones_like(mask))


def unscaled(self, visual, words, mask):
    kept, self.scale = self.scale, 1.0
    found = real_pwam(self, visual, words, mask)
    self.scale = kept
    return found


PWAM, Gate = lavt.PWAM, lavt.LanguageGate
costs = {
    "nothing": iou(),
    "padding not masked": changed(PWAM, "forward", all_words),
    "scores not scaled": changed(PWAM, "forward", unscaled),
    "no gate: V + F": changed(Gate, "forward", lambda self, v, f: v + f),
    "words do not go on: V": changed(Gate, "forward", lambda self, v, f: v),
    "decoder reads E_i": changed(lavt.LAVT, "decode", reads_e),
    "query not normalised": changed(lavt, "instance_norm", norm_only(0)),
    "words' map not normalised": changed(
        lavt, "instance_norm", norm_only(1)
    ),
    "align_corners off": changed(lavt, "enlarge", no_corners),
    "the next scene's sentence": iou(some.texts[1:] + some.texts[:1]),
}
show(Table(["change", "IoU"], [[n, f"{v:.1%}"] for n, v in costs.items()]))

# %% [markdown]
# ## What it costs that words enter early
#
# CLIPSeg encodes a picture once and asks it often. LAVT cannot: behind its first stage all depends on the sentence.
#
# ::predict answer="{=shared:.0%}"
#     In the released size (Swin-B, 480 pixels): what share of the multiplications of one run does *not* depend on the
#     sentence, and could be shared by many sentences about one picture?
#
#     ---
#     The patches and the two blocks of the first stage. Everything behind them runs again for each sentence.

# %%
from torch.utils.flop_counter import FlopCounterMode

from minimodels.bert import BERT
from minimodels.lavt import LAVT
from minimodels.swin import SwinBackbone

with torch.device("meta"):  # true size, no memory, no time
    depths, heads = (2, 2, 18, 2), (4, 8, 16, 32)
    swin = SwinBackbone(
        embed_dim=128, depths=depths, num_heads=heads, window_size=12
    )
    big = LAVT(swin, BERT()).eval()
    photo, sentence = torch.empty(1, 3, 480, 480), torch.empty(1, 20, 768)
    twenty = torch.ones(1, 20, dtype=torch.long)


def operations(run):
    """Multiplications and additions, in billions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 1e9


everything = operations(lambda: big.segment(photo, sentence, twenty))
first = operations(lambda: swin.stages[0](swin.embed(photo)))
alone = operations(lambda: swin(photo))
shared = first / everything
print(f"one sentence: {everything:.0f}, of which Swin {alone:.0f}")
print(f"before the first word: {first:.0f} ({shared:.0%})")

# %% [markdown]
# ## How it was trained
#
# A cross entropy over two classes with weights 0.9 for background and 1.1 for the referent (exercise 4.4.5), AdamW, a
# rate that falls as a polynomial of power 0.9 (4.4.6), 40 epochs from a Swin-B that knows ImageNet-22k and a BERT that
# knows English. Tiny LAVT has neither: it learned to see and to read from Sticker World alone, in
# `lessons/train/lavt/trainer.py`, with two sentences for each scene, so that the words alone tell the two masks apart.
#
# ## Write it yourself
#
# ::exercises
#
# ::quiz
#     In PWAM somebody writes the usual scale, `head_dim ** -0.5`. The official weights load. What happens?
#
#     - [ ] An error: the shapes do not fit :: The shapes are the same for any number of heads.
#     - [x] Nothing, as long as every PWAM has one head :: Then one head's channels are all channels. With several heads
#       the scores come out too large, and the masks are off: our golden case with heads 2-2-4-4 is there for this.
#     - [ ] The masks are poor at once :: Only if PWAM has several heads, and in the released models it has one.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | good on large pictures, off on small ones | Swin's classifier rule "no shift where the map fits one window": LAVT shifts always, and never shrinks the window |
# | masks change with the padding | the padded words are not masked, or their keys are only set to zero |
# | an error about one position | the picture ends as 1 x 1: instance norm has nothing to compare |
# | two calls give two masks | the model is in training mode: stochastic depth and batch statistics (the released demo forgets eval()) |
# | long sentences end strangely | the list of ids is cut to 20, the released way, and loses `[SEP]`; a BERT pipeline that keeps it gives other words |
# | `weights_only` refuses the official file | it holds the training's command line as `argparse.Namespace`; our reader takes it as a dictionary and runs nothing |
#
# ## The paper, and where else it is
#
# Figure 2 of the paper is the drawing above; PWAM is section 3.2, the language pathway 3.3, the
# decoder 3.4. No library has LAVT, so there is nothing to be equal to but the authors' own program: its numbers, in
# float64, on four small models are our golden cases, and ours agree to 1e-13 in every map; gradients are held against
# finite differences. The official files come in two layouts, `lavt` (BERT beside) and `lavt_one` (BERT inside), and
# both become the same class:
#
# ```sh
# python -m minimodels segment photo.jpg "the man on the left" --model lavt-refcoco
# ```
#
# They lie on Google Drive, which does not always hand files to a program; the command says what to do then.
# What LAVT cannot do: [[4.5]].
