"""Zero-shot: a classifier made of sentences

A CLIP has no classes. Give it a list of words and it has: write a sentence around each word, and the nearest sentence
is the answer. How much does the sentence matter, how good is it beside a classifier trained on labels, and what does it
say when none of your words is right?

nav: Zero-shot
minutes: 20
needs: 3.2
paper: [Radford et al. 2021](https://arxiv.org/abs/2103.00020), sections 3.1.2 to 3.1.5
code: minimodels/words/templates.py
"""

# %% [markdown]
# ## From words to a classifier
#
# For each label, fill the word into one or several sentences (templates), encode them, make each vector one unit long,
# take the mean, and make that one unit long again. The vectors of all labels, below each other, are the weight matrix
# of a linear classifier that nobody trained:
#
# $$
# w_c = \frac{\sum_{k} t_{ck}}{\big\lVert \sum_{k} t_{ck} \big\rVert}, \quad
# t_{ck} = \frac{T(\text{template}_k(\text{label}_c))}{\lVert T(\dots) \rVert}, \qquad
# p_c = \operatorname{softmax}_c \big( e^{s} \, w_c \cdot I / \lVert I \rVert \big)
# $$
#
# ::source minimodels.words.templates.label_embeddings nodoc

# %%
import torch
import torch.nn.functional as F

import minimodels
from lessons.stickers.exams import singles
from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import TEST
from lessons.train.measures import embed_images
from minimodels.words.templates import label_embeddings

model = minimodels.load("tiny-clip")
scale = model.logit_scale.exp().item()
exam = singles(TEST, rounds=3)  # 576 unseen pictures
kinds = torch.from_numpy(exam.kinds)
I = embed_images(model, exam.images)  # (576, 128), unit vectors


def right(templates, labels=CLASSES):
    """The share of pictures whose nearest label is their own."""
    W = label_embeddings(model, labels, templates)  # (64, 128)
    return ((I @ W.T).argmax(dim=1) == kinds).float().mean().item()


plain = right(["{a}"])
print(f"64 labels in the sentence 'a dog', 'an owl': {plain:.1%} right")
print(f"guessing: {1 / 64:.1%}")

# %% [markdown]
# ## The sentence matters
#
# ::predict
#     Six templates: `dog` alone, `a dog`, `a picture of a dog`, `a dog on grass`, `a photo of a dog.` (the standard one
#     of the paper) and `a bad photo of the dog.` (one of the eighty that CLIP's authors used on ImageNet). All six for
#     the same pictures, of which only some are on grass. Which is the best, which is the worst?
#
#     ---
#     The best ones sound like the captions this model grew up with. "photo", "bad" and "the" never stood in a caption
#     of Sticker World: they are only noise that pushes every label's vector aside. For OpenAI's CLIP, which grew up
#     with captions from the web, "a photo of a dog." *is* what captions sound like, and gained 1.3 points on ImageNet
#     (section 3.1.4).

# %%
from lessons.book.diagrams import Table, show

SINGLE = [
    "{}",
    "{a}",
    "a picture of {a}",
    "{a} on grass",
    "a photo of {a}.",
    "a bad photo of the {}.",
]
show(
    Table(
        ["template", "right"],
        [
            [
                f'"{t.replace("{}", "dog").replace("{a}", "a dog")}"',
                f"{right([t]):.1%}",
            ]
            for t in SINGLE
        ],
    )
)

# %% [markdown]
# Several templates together make an **ensemble**: the mean of their vectors. What differs between the sentences (small,
# big, the ground) cancels, what they share (the dog) stays. It costs nothing at the time of use, since the mean is
# taken once.

# %%
GROUNDS = [
    "on grass",
    "on sand",
    "in the sky",
    "on water",
    "at night",
    "on wood",
]
ENSEMBLES = {
    "one: a dog": ["{a}"],
    "three sizes": ["{a}", "a small {}", "a big {}"],
    "six grounds": [f"{{a}} {ground}" for ground in GROUNDS],
    "sizes x grounds": [
        f"{size} {ground}"
        for ground in GROUNDS
        for size in ("{a}", "a small {}", "a big {}")
    ],
    "the three foreign ones": [
        "a photo of {a}.",
        "a bad photo of the {}.",
        "itap of a {}.",
    ],
}
show(
    Table(
        ["ensemble", "templates", "right"],
        [
            [name, str(len(templates)), f"{right(templates):.1%}"]
            for name, templates in ENSEMBLES.items()
        ],
    )
)

# %% [markdown]
# On this easy exam one good template leaves little to gain. On ImageNet, eighty templates gained 3.5 points over the
# one standard template (section 3.1.4), and both steps together almost five.
#
# ## A word means what the captions used it for
#
# The tokenizer can spell any word ([[3.1]]), so any word may be a label. That does not make it known.
#
# ::predict answer="{=puppies}|0 %|none"
#     In the list of 64 labels we write "puppy" where "dog" was, and leave the other 63 as they are. The exam has
#     {=dogs} pictures of dogs. How many of them are now called a puppy?
#
#     ---
#     The word *puppy* was never in a caption; it is spelled in pieces that mean nothing together. The pictures of dogs go
#     to whatever animal looks most alike. A model that learned from the web has met both words on pictures of dogs.


# %%
def found(word, label):
    """Pictures of `label` called so, when it is written as `word`."""
    number = CLASSES.index(label)
    labels = [word if name == label else name for name in CLASSES]
    answers = (I @ label_embeddings(model, labels, ["{a}"]).T).argmax(dim=1)
    return int((answers[kinds == number] == number).sum())


dogs = int((kinds == CLASSES.index("dog")).sum())
puppies = found("puppy", "dog")
SYNONYMS = {
    "dog": "puppy",
    "car": "automobile",
    "boat": "ship",
    "gift": "present",
    "shoe": "sneaker",
    "umbrella": "parasol",
}
show(
    Table(
        ["label", "found", "written as", "found"],
        [
            [
                label,
                f"{found(label, label)} of {dogs}",
                word,
                f"{found(word, label)} of {dogs}",
            ]
            for label, word in SYNONYMS.items()
        ],
    )
)

# %% [markdown]
# The opposite trouble is **polysemy**: one word with two meanings. The paper's examples are ImageNet's *crane*, which
# is both a bird and a machine, and the *boxer* of a data set of pets, which a model that read the web takes for a
# sportsman. A word alone gives one vector, somewhere between its meanings; a sentence can say which one is meant: "a
# photo of a boxer, a type of pet."
#
# Sticker World was built without such words, but one comes close: *star* is a yellow sticker, and the night sky is full
# of small bright dots. If the word meant both, then "a star" would lie nearer to night scenes than to others. Here is
# the mean cosine of "a star" with scenes that have no star sticker:

# %%
from lessons.stickers.textures import BACKGROUNDS

star = CLASSES.index("star")
ground = torch.tensor([scene.background for scene in exam.scenes])
to_star = I @ label_embeddings(model, ["star"], ["{a}"])[0]  # (576,)
rows = [
    [name, f"{to_star[(ground == n) & (kinds != star)].mean():.2f}"]
    for n, name in enumerate(BACKGROUNDS)
]
rows.append(
    ["(scenes with the sticker)", f"{to_star[kinds == star].mean():.2f}"]
)
show(Table(["background, no star sticker", 'cosine with "a star"'], rows))

# %% [markdown]
# No caption ever called the dots stars, so for this model they are none: night stands out from the other grounds by
# nothing that matters. A second meaning has to be in the captions to be in the model.
#
# ## Beside a classifier that was trained on labels
#
# The other way to use a frozen CLIP is a **linear probe**: throw the text tower away and train a linear classifier on
# the image vectors, with labelled pictures. With very few pictures a class it has little to go on; with many it should
# win. Where do they meet?
#
# ::predict answer="{=crossing}"
#     Zero-shot is right in {=plain:.1%} without a single labelled picture. We try the probe with 1, 2, 4, 8 and 16
#     labelled pictures of each class. Which is the first of them with which it does as well? (Write "none" if you think
#     that 16 are not enough.)
#
#     ---
#     The figure shows where the curve crosses the line. In the paper it crosses at about 4 pictures a class, as a mean
#     over many data sets (figure 6). Its point: the words are worth as much as a few examples.

# %%
from lessons.stickers.splits import VAL

labelled = singles(VAL, rounds=6)  # 18 pictures a class to draw from
their_kinds = torch.from_numpy(labelled.kinds)
seen = embed_images(model, labelled.images)


def probe(features, answers, decay=1e-4):
    """A linear classifier (D, 64) and its bias, by logistic regression."""
    W = torch.zeros(features.shape[1], 64, requires_grad=True)
    b = torch.zeros(64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [W, b], max_iter=60, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(features @ W + b, answers)
        value = value + decay * W.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return W.detach(), b.detach()


def probe_accuracy(shots, draw, seen=seen, I=I):
    """Train on `shots` random pictures a class; test on the exam."""
    dice = torch.Generator().manual_seed(draw)
    chosen = []
    for number in range(64):
        own = (their_kinds == number).nonzero()[:, 0]
        chosen.append(own[torch.randperm(len(own), generator=dice)[:shots]])
    chosen = torch.cat(chosen)
    W, b = probe(10 * seen[chosen], their_kinds[chosen])
    return ((10 * I @ W + b).argmax(dim=1) == kinds).float().mean().item()


shots = [1, 2, 4, 8, 16]
curves = [[probe_accuracy(k, draw) for k in shots] for draw in range(3)]
mean = [sum(column) / 3 for column in zip(*curves)]
crossing = next((k for k, m in zip(shots, mean) if m >= plain), "none")

# %% fold="The code of this figure" alt="Accuracy against the number of labelled pictures a class, 1 to 16. The linear probe starts well below the zero-shot line, climbs steeply, and reaches the line's height only with many labelled pictures." caption="Linear probe (three draws of the labelled pictures and their mean) and zero-shot, on the same unseen pictures."
import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(5.2, 2.8), layout="constrained")
axis.axhline(plain, color="#b4531a", label="zero-shot, no labels")
axis.semilogx(shots, mean, "o-", base=2, label="linear probe")
for curve in curves:
    axis.plot(shots, curve, ".", color="#3b6ea8", alpha=0.4)
axis.set(
    xticks=shots,
    xticklabels=shots,
    ylim=(0.5, 1),
    xlabel="labelled pictures a class",
    ylabel="right",
)
axis.minorticks_off()
axis.legend(loc="lower right")
plt.show()

# %%
from minimodels.clip import CLIP

torch.manual_seed(0)
untrained = CLIP(**model.about["arguments"]).eval()
base = probe_accuracy(
    16,
    0,
    embed_images(untrained, labelled.images),
    embed_images(untrained, exam.images),
)
print("probe:", ", ".join(f"{k}: {m:.1%}" for k, m in zip(shots, mean)))
print(f"zero-shot: {plain:.1%}")
print(f"the same probe on an untrained tower, 16 pictures: {base:.1%}")

# %% [markdown]
# The last line says that it is CLIP's vectors that do the work, not the probe. Four pictures a class are 256 labels
# here, sixteen are 1,024; the sentence took a second to write.
#
# ## How sure is it?
#
# The softmax gives probabilities, and $e^s$ decides how decided they look. It was learned to lower the loss over
# *captions in a batch*, not to make these numbers honest. They are honest (calibrated) when, of all answers given with
# 80 % confidence, 80 % are right; a first check is the mean confidence beside the share of right answers.

# %%
W = label_embeddings(model, CLASSES, ["{a}"])
cosine = I @ W.T  # (576, 64)
rows = []
for name, factor in (
    ("1", 1.0),
    ("10", 10.0),
    ("30", 30.0),
    (f"learned, {scale:.0f}", scale),
    ("100", 100.0),
):
    sure = (factor * cosine).softmax(dim=1).amax(dim=1).mean().item()
    rows.append([name, f"{sure:.1%}", f"{plain:.1%}"])
show(Table(["scale", "mean confidence", "right"], rows))

# %% [markdown]
# The answers are the same in every row, since a positive factor does not change which label is nearest. Only the
# confidence moves: for the same answers it can be made anything. In which row is it most honest? Even there that holds
# for one list of labels and one kind of picture.
#
# ## When no label is right
#
# A softmax must give its hundred percent to somebody. Take the right label off the list, for each picture its own:

# %% alt="Two pairs of histograms. Left, the confidence of the first label: with the right label on the list nearly all near 100 percent; without it spread widely, and many are still above 80 percent. Right, the cosine of the first label: the two heaps overlap much less." caption="The first label's confidence (left) and its plain cosine (right), with the right label on the list and without."
without = cosine.clone()
without[torch.arange(len(kinds)), kinds] = -1  # not on the list


def first(values):
    """Confidence and cosine of the first label."""
    return (scale * values).softmax(dim=1).amax(dim=1), values.amax(dim=1)


present, absent = first(cosine), first(without)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6), layout="constrained")
for axis, a, b, name in zip(axes, present, absent, ("confidence", "cosine")):
    bins = torch.linspace(0, 1, 26).tolist()
    axis.hist(a, bins, alpha=0.6, label="right label there")
    axis.hist(b, bins, alpha=0.6, label="not there")
    axis.set(xlabel=f"{name} of the first label", yticks=[])
axes[0].legend(loc="upper left")
plt.show()


# %%
def separated(a, b):
    """How often one of the first kind scores above one of the second."""
    return (a[:, None] > b[None, :]).float().mean().item()


sure_and_wrong = (absent[0] > 0.8).float().mean().item()
print(f"wrong, yet more than 80 % sure: {sure_and_wrong:.1%}")
print(f"told apart by confidence: {separated(present[0], absent[0]):.1%}")
print(f"told apart by cosine:     {separated(present[1], absent[1]):.1%}")

# %% [markdown]
# ("Told apart" is how often a picture whose label is there scores above one whose label is not; 50 % is guessing.)
#
# The confidence compares labels with each other; it cannot say "none of these". The cosine at least compares the
# picture with the words. A threshold on it, chosen on pictures of your own, or one more label for "something else", is
# what can be done.
#
# ## Try it
#
# ```sh
# python -m minimodels zero-shot scene.png dog cat rocket
# python -m minimodels zero-shot photo.jpg dog cat \
#     --model openai/clip-vit-base-patch32
# ```
#
# The first asks tiny CLIP about a sticker scene (`python -m lessons tour` writes some), the second the released CLIP
# about a photograph. The exercises stand at the end of the page. Two symptoms that nearly everybody meets:
#
# ??? hint "Symptom: ensembling makes it worse"
#     Were the vectors made unit vectors *before* the mean? Otherwise long ones (often those of strange sentences) count
#     more. And after the mean the vector is shorter than one: normalise again, or labels whose sentences disagree are
#     whispered.
#
# ??? hint "Symptom: one label takes nearly everything"
#     Its vector was not normalised, or its sentence is the only one that sounds like the training captions.
#
# ::quiz
#     Two labels, "dog" and "cat". CLIP says dog, 99.7 %. What does this number tell?
#
#     - [ ] The picture shows a dog with a probability of 99.7 % :: Only if one of the two labels is right at all, and
#       only if the scale is honest.
#     - [x] Of these two sentences, "a dog" is clearly nearer to the picture :: It is a comparison of the sentences you
#       gave, stretched by the scale.
#     - [ ] The cosine of the picture with "a dog" is 0.997 :: Cosines of the released CLIPs mostly lie between 0.1 and
#       0.4; the scale of 100 makes the percent.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | some points below the published accuracy | the word alone, or other templates and class names than published; the paper used eighty and edited the names |
# | one of two twins never found | two labels nearly the same sentence: *fish* and *a fish*, *maillot* twice in ImageNet |
# | sure and wrong | no label fits; see the cosine |
# | good in the list, bad one by one | with two labels of yes and no ("a dog", "no dog"): the word *no* has hardly any effect on the vector |
# | the probe beats zero-shot by far | the pictures differ from what captions speak about (medical, satellite): words carry little there |
#
# ## The paper, and the same lines in the libraries
#
# Section 3.1.2 has the classifier made of text, 3.1.4 prompts and ensembles, 3.1.5 and figure 6 the comparison with
# few-shot probes; its limits are in section 6. OpenAI's notebook with the prompts lists the eighty templates and the
# edited class names.
#
# **open_clip** has `build_zero_shot_classifier(model, tokenizer, classnames, templates)`, which returns the same matrix
# transposed (one column a class), and keeps the lists as `OPENAI_IMAGENET_TEMPLATES` and `IMAGENET_CLASSNAMES`.
# **transformers** has `pipeline("zero-shot-image-classification")`: one template, "This is a photo of {}.", unless you
# pass `hypothesis_template`; it does not ensemble. In both, the confidence is the softmax over the labels you gave.
