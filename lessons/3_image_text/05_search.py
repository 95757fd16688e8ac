"""Text-to-image search: 500 pictures, one matrix product

You have five hundred pictures without names and want "a red car on sand". What has to be computed once, what for each
question, how do you tell how good the search is, and for which questions does it look good while it is not?

nav: Search
minutes: 15
needs: 3.2, 3.4
paper: [Radford et al. 2021](https://arxiv.org/abs/2103.00020), appendix E.1; [Karpathy and Fei-Fei 2015](https://arxiv.org/abs/1412.2306), section 4.1
code: minimodels/metrics/masks.py
"""

# %% [markdown]
# ## The index
#
# A picture's vector does not depend on what you will ask. So all pictures are encoded once, made unit vectors and kept:
# the index, $V \in \mathbb{R}^{N \times E}$. A question becomes a unit vector $t \in \mathbb{R}^E$, and one matrix
# product gives all cosines:
#
# $$
# \text{scores} = V t \in \mathbb{R}^{N}, \qquad \text{hits} = \operatorname{topk}(\text{scores}, k)
# $$
#
# ::predict answer="{=index_bytes // 1000}|{=index_bytes}|{=index_bytes / 1024:.0f}"
#     How many kilobytes does the index of 500 pictures need, with vectors of {=V.shape[1]} numbers in float32?
#
#     ---
#     500 x {=V.shape[1]} x 4 bytes. The pixels of the same pictures, 64 x 64 with 3 bytes each, are {=pixel_bytes //
#     index_bytes} times as much.

# %%
import torch

import minimodels
from lessons.stickers.exams import captioned
from lessons.stickers.splits import TEST
from lessons.train.measures import embed_images, embed_texts, normalized

model = minimodels.load("tiny-clip")
pairs = captioned(TEST, 500)  # scenes and captions, unseen
V = embed_images(model, pairs.images)  # (500, 128) unit vectors
index_bytes = V.numel() * V.element_size()
pixel_bytes = pairs.images.size
print("index", tuple(V.shape), f"{index_bytes:,} bytes")
print(f"pixels {pixel_bytes:,} bytes")


def search(text, k=4):
    """The numbers and cosines of the k nearest pictures."""
    t = embed_texts(model, model.tokenize, [text])[0]  # (128,)
    best = (V @ t).topk(k)
    return best.indices.tolist(), best.values.tolist()


# %% alt="Four rows of four sticker scenes, one row for each question, with how many pictures would be right. For a guitar, a penguin in the sky, and a cactus and a star the first hits are right. For a red car all four are wrong: purple and blue cars alone on their ground, and other red things." caption="The four best of 500 for four questions, with their cosines. In brackets: how many of the 500 would be right."
import matplotlib.pyplot as plt

from lessons.stickers.textures import BACKGROUNDS

questions = {
    "a guitar": {"guitar"},
    "a red car": {"red car"},
    "a penguin in the sky": {"penguin", "sky"},
    "a cactus and a star": {"cactus", "star"},
}


def facts(scene):
    """All that a question may ask of a scene, as a set of words."""
    found = {BACKGROUNDS[scene.background]}
    for sticker in scene.stickers:
        found |= {sticker.name, f"{sticker.colour_name} {sticker.name}"}
        found.add(f"{('small', '', 'big')[sticker.size]} {sticker.name}")
    return found


known = [facts(scene) for scene in pairs.scenes]
figure, axes = plt.subplots(4, 4, figsize=(5.6, 7.2), layout="constrained")
figure.get_layout_engine().set(hspace=0.07)
for row, (question, wanted) in zip(axes, questions.items()):
    count = sum(wanted <= facts_of_one for facts_of_one in known)
    row[0].set_title(f"{question} ({count})", loc="left", fontsize=11)
    for axis, number, score in zip(row, *search(question)):
        axis.imshow(pairs.images[number])
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        right = wanted <= known[number]
        axis.set_xlabel(f"{score:.2f}" + ("" if right else "  wrong"))
plt.show()

# %% [markdown]
# A search always gives $k$ hits, also when nothing fits, just as a softmax gives its hundred percent ([[3.4]]). And the
# second row has a lesson of its own: several pictures show a red car, and none of them is found. Look at what is found:
# pictures with one thing on them. Is that so for other questions?

# %%
from lessons.stickers.captions import GROUND_WORDS, with_article
from lessons.stickers.sheet import CLASSES, COLOURABLE, COLOURS

alone = [len(scene.stickers) == 1 for scene in pairs.scenes]
hits = [n for name in CLASSES for n in search(with_article(name), k=5)[0]]
share_alone = sum(alone) / 500
share_of_hits = sum(alone[n] for n in hits) / len(hits)
print(f"pictures with one sticker: {share_alone:.0%} of the collection,")
print(f"{share_of_hits:.0%} of the five best for 'a dog', 'a cat' and so on")

# %% [markdown]
# One vector holds a whole picture. In a crowded one it points to several things at once, and a question for one of them
# meets only a part of it. A short question finds pictures that *are* what it says, not pictures that *contain* it.
#
# ## How good is it? Recall at k
#
# Take pictures whose captions are known, search with each caption, and look how often its own picture is among the
# first $k$. That is **recall at k**, R@k:
#
# $$
# \text{R@}k = \frac{1}{Q} \sum_{q=1}^{Q} \big[\, \text{the right picture of } q \text{ is among its } k \text{ best} \,\big]
# $$
#
# ::source minimodels.metrics.retrieval.retrieval_ranks nodoc
#
# ::source minimodels.metrics.retrieval.recall_at nodoc
#
# Two details decide whether such a number can be trusted. Equal scores count against us: a broken model that gives
# every picture the same score gets no hit, and not all of them. And the number of pictures belongs to the result: R@1
# of 1,000 is harder than R@1 of 100.

# %%
from lessons.book.diagrams import Table, show
from lessons.stickers.baselines import colour_only_ranks
from minimodels.clip import CLIP
from minimodels.metrics.retrieval import recall_at

own = torch.eye(500, dtype=torch.bool)  # caption q, picture q
T = embed_texts(model, model.tokenize, pairs.captions)  # (500, 128)
torch.manual_seed(0)
untrained = CLIP(**model.about["arguments"]).eval()
blind = (
    embed_texts(untrained, model.tokenize, pairs.captions)
    @ embed_images(untrained, pairs.images).T
)
colour_ranks = torch.from_numpy(colour_only_ranks(pairs))

KS = (1, 5, 10)
show(
    Table(
        ["who searches", *(f"R@{k}" for k in KS)],
        [
            ["guessing", *(f"{k / 500:.1%}" for k in KS)],
            ["untrained", *(f"{recall_at(blind, own, k):.1%}" for k in KS)],
            [
                "colours alone (oracle)",
                *(f"{(colour_ranks < k).float().mean():.1%}" for k in KS),
            ],
            ["tiny CLIP", *(f"{recall_at(T @ V.T, own, k):.1%}" for k in KS)],
        ],
    )
)

# %% [markdown]
# The oracle in the third row is told what is in each scene and how large, works out the colours that the picture should
# have, and finds the picture whose colours are nearest. It reads no shapes. What tiny CLIP has above it had to be seen.
#
# ## Do not forget to normalise. Which side?
#
# ::predict
#     Somebody leaves out one of the two normalisations. Once the pictures in the index keep their length, once the
#     question does. Which of the two changes the list of hits, and which cannot?
#
#     ---
#     The length of the question multiplies all of *its* scores alike, so its order of pictures stays. The lengths of
#     the pictures differ from row to row: long vectors come first whatever is asked. (When pictures choose texts, as in
#     zero-shot, it is the other way round.)

# %%
with torch.no_grad():
    parts = normalized(pairs.images).split(100)
    raw_V = torch.cat([model.encode_image(part) for part in parts])
    raw_T = model.encode_text(model.tokenize(pairs.captions))
show(
    Table(
        ["normalised", "R@1"],
        [
            ["both", f"{recall_at(T @ V.T, own, 1):.1%}"],
            ["pictures only", f"{recall_at(raw_T @ V.T, own, 1):.1%}"],
            ["questions only", f"{recall_at(T @ raw_V.T, own, 1):.1%}"],
        ],
    )
)
lengths = raw_V.norm(dim=1)
print(
    f"lengths of the pictures' vectors: {lengths.min():.1f} "
    f"to {lengths.max():.1f}"
)

# %% [markdown]
# How much it costs depends on how unequal the lengths are; here they are alike, and the mistake hides. Normalise all
# the same: it is one line, and the next model's lengths are not yours to choose.
#
# An index does not need all its digits either. Unit vectors in half precision, or as whole numbers from -127 to 127:

# %%
most = V.abs().max()
whole_numbers = (V / most * 127).round()  # would be kept as int8
kinds = {"float32": V, "float16": V.half().float(), "int8": whole_numbers}
show(
    Table(
        ["index", "bytes a picture", "R@1", "R@10"],
        [
            [
                name,
                str(V.shape[1] * size),
                f"{recall_at(T @ index.T, own, 1):.1%}",
                f"{recall_at(T @ index.T, own, 10):.1%}",
            ]
            for size, (name, index) in zip((4, 2, 1), kinds.items())
        ],
    )
)

# %% [markdown]
# For a few hundred thousand pictures one matrix product is fast enough, and it is exact. Libraries such as FAISS trade
# a little recall for speed beyond that: they look only where the hits are likely.
#
# ## Questions of your own
#
# Captions that describe a whole scene are easy: they name everything, and one rare sticker is enough to find the
# picture. People ask shorter. Since the world is made, we know the right answers for any question: several pictures may
# be right, and R@1 is then how often *the first hit* is one of them.
#
# For each kind of question there is a shortcut: leave out the word that matters. If "a car" finds as many red cars as
# "a red car", then the word *red* did nothing.


# %%
def first_hit(asked):
    """R@1 of (text, wanted facts), and the chance of a blind guess."""
    scores = embed_texts(model, model.tokenize, [a for a, _ in asked]) @ V.T
    relevant = torch.tensor([[w <= k for k in known] for _, w in asked])
    return recall_at(scores, relevant, 1), relevant.float().mean().item()


def answerable(asked):
    """Only questions that some picture answers."""
    return [a for a in asked if any(a[2] <= k for k in known)]


A = with_article
names = list(CLASSES)
coloured = [CLASSES[number] for number in COLOURABLE]
asked = {  # kind: (question, the shorter one, what must be in the picture)
    "a car": [(A(n), "a picture", {n}) for n in names],
    "a red car": [
        (A(f"{c} {n}"), A(n), {f"{c} {n}"})
        for n in coloured
        for c in COLOURS[1:]
    ],
    "a small dog": [
        (A(f"{s} {n}"), A(n), {f"{s} {n}"})
        for n in names
        for s in ("small", "big")
    ],
    "a dog on sand": [
        (f"{A(n)} {words}", A(n), {n, ground})
        for n in names
        for ground, words in GROUND_WORDS.items()
    ],
}
rows = []
for kind, questions in asked.items():
    questions = answerable(questions)
    full, chance = first_hit([(q, w) for q, _, w in questions])
    short, _ = first_hit([(s, w) for _, s, w in questions])
    rows.append(
        [
            kind,
            str(len(questions)),
            f"{chance:.1%}",
            f"{short:.1%}",
            f"{full:.1%}",
        ]
    )
show(
    Table(["kind", "questions", "guessing", "without the word", "R@1"], rows)
)

# %% [markdown]
# Each word helps: the last column lies above the one before it. But compare the rows. With whole captions nearly every
# question was answered, and "a car" finds a car; a car that has to be *red*, or *small*, or *on sand* is missed often,
# because the only pictures with it are crowded ones, and a lonely blue car comes first.
#
# ## The question that looks answered
#
# Now a question with a relation: "a dog left of a cat". We search with it for its scene among the 500.

# %%
from lessons.stickers.exams import word_order

order = word_order(TEST, 250)
sideways = [
    n
    for n, words in enumerate(order.captions)
    if " left of " in words or " right of " in words
]
scenes = order.images[sideways]
captions = [order.captions[n] for n in sideways]
without = [
    words.replace(" left of ", " and ").replace(" right of ", " and ")
    for words in captions
]
both = torch.cat([embed_images(model, scenes), V])  # theirs first, then 500
right = torch.eye(len(scenes), len(both), dtype=torch.bool)
found = recall_at(
    embed_texts(model, model.tokenize, captions) @ both.T, right, 1
)
short = recall_at(
    embed_texts(model, model.tokenize, without) @ both.T, right, 1
)
print("question:", captions[0])
print("without: ", without[0])
print(f"{len(captions)} questions, {len(both)} pictures")
print(f"R@1 {found:.1%}; with 'and' instead of the relation {short:.1%}")

# %% [markdown]
# ::predict answer="50|50 %|50%|{=mirrored:.0%}|half"
#     {=found:.0%} right at the first place. Now we put the mirror image of each scene beside it, in which left is
#     right, so that nothing but the relation tells the two apart. In how many percent of the questions does the true
#     scene still come before its mirror image?
#
#     ---
#     {=mirrored:.1%}; guessing gives 50 %. The search found the scene by its two stickers and the ground, and never
#     needed the relation. The line above said so already: with "and" in place of the relation it found about as many.

# %%
mirror = embed_images(model, scenes[:, :, ::-1].copy())
texts = embed_texts(model, model.tokenize, captions)
original = embed_images(model, scenes)
mirrored = (texts * original).sum(1) > (texts * mirror).sum(1)
mirrored = mirrored.float().mean().item()
print(f"the scene before its mirror image: {mirrored:.1%}")

# %% [markdown]
# [[3.3]] says why. Negation fails for the same reason, and worse: a question names what should *not* be there, and
# names pull.

# %%
animals = ["dog", "cat", "panda", "frog", "crab", "fox", "pig", "lion"]
share = {}
for form in ("a {}", "no {}", "a picture without a {}"):
    hits = [search(form.format(n), k=5)[0] for n in animals]
    shown = [n in known[hit] for n, row in zip(animals, hits) for hit in row]
    share[form] = sum(shown) / len(shown)
present = sum(n in k for n in animals for k in known) / 500 / len(animals)
show(
    Table(
        ["question", "hits with the animal"],
        [
            [f'"{form.format("dog")}"', f"{part:.0%}"]
            for form, part in share.items()
        ]
        + [["any picture, drawn blindly", f"{present:.0%}"]],
    )
)

# %% [markdown]
# (The share of the five first hits that show the animal, over eight animals.) "No" and "without" never stood in a caption of Sticker World. In captions of the web they are rare too: people write
# what is in a picture.
#
# ## Try it
#
# ```sh
# python -m minimodels search photos/ "a dog on a beach" \
#     --model openai/clip-vit-base-patch32
# python -m minimodels search photos/ --like dog.jpg
# ```
#
# The second one shows instead of saying: the index is the same, the query is a picture's vector. A picture that lies in
# the folder is left out of its own hits.
#
# The first search of a folder writes the index next to the pictures; later ones encode only what is new or has changed.
# The exercises stand at the end of the page. Two symptoms that nearly everybody meets:
#
# ??? hint "Symptom: recall far too good"
#     Several captions a picture (five in COCO and Flickr30k): count questions, not pairs, and look whether ties are
#     counted for you. A model whose scores are all equal must get about nothing.
#
# ??? hint "Symptom: the same few pictures for every question"
#     The index is not normalised: its longest vectors win.
#
# ::quiz
#     A paper reports R@1 of 58 % on 1,000 pictures, another one 37 % on 5,000. Which search is better?
#
#     - [ ] The first: 58 is more than 37 :: With five times as many pictures there are five times as many ways to be
#       wrong.
#     - [ ] The second, because it had more pictures :: More pictures make it harder; how much harder is not known from
#       this.
#     - [x] It cannot be said: the number of pictures must be the same :: R@k means something only together with the
#       size of the collection (and its captions).
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | the same hits for all questions | pictures not normalised, or one constant picture (a broken file, all grey) many times |
# | good with captions, bad with questions | captions name everything; people name one thing. Test with the questions you expect |
# | "a red car" finds cars, and red things | colours and nouns are bound loosely ([[3.3]]) |
# | hits for a nonsense question | there are always $k$ nearest; look at the cosine, and compare it with that of a question that fits |
# | new model, old index | vectors of two models do not mix, even when their lengths agree; keep the model's name in the index |
#
# ## The paper, and the same lines in the libraries
#
# CLIP's zero-shot retrieval on Flickr30k and COCO is in the paper's appendix (E.1, table 13); recall at k with captions
# as questions goes back to Karpathy and Fei-Fei. **open_clip** and **transformers** give you the vectors
# (`encode_image`, `get_image_features`), the search is the same matrix product. In **FAISS**, `IndexFlatIP` is this
# page's search: it takes what you give it, so normalise before `add`.
