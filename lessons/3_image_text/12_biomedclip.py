"""BiomedCLIP: the same idea in another field

A CLIP that read the web knows dogs and sunsets. BiomedCLIP read fifteen million figures of medical papers and their
captions. What had to change for that? Not the idea, and hardly the code: two ready encoders, other words, longer texts,
and one small head. You cut medical words with two vocabularies, find the place where a sentence is read, fall into the
trap of the context length, and measure how two templates are best put together.

nav: BiomedCLIP
minutes: 20
needs: 3.2, 2.7
paper: [Zhang et al. 2023](https://arxiv.org/abs/2303.00915)
code: minimodels/biomedclip.py, minimodels/words/word_rows.py
"""

# %% [markdown]
# ## What changes with the field
#
# CLIP's two towers ([[3.2]]) start from random numbers. BiomedCLIP starts from two encoders that others trained: a
# ViT-B/16 that has seen ImageNet ([[2.3]]), and PubMedBERT, a BERT ([[2.7]]) that has read nothing but abstracts of
# medical papers. Both are trained on together. What is its own fits on one screen:
#
# ::source minimodels.biomedclip.ProjectedViT nodoc
#
# ::source minimodels.biomedclip.ProjectedBERT nodoc
#
# Here it is beside OpenAI's CLIP of the same image encoder, both built at their real size without any numbers in them:

# %%
import torch

from lessons.book.diagrams import Table, show
from minimodels.bert import BERT
from minimodels.biomedclip import BiomedCLIP
from minimodels.clip import CLIP
from minimodels.vit import ViT

with torch.device("meta"):  # shapes alone, no memory
    clip = CLIP(patch_size=16)
    bio = BiomedCLIP(ViT(num_classes=0), BERT())


def millions(module):
    """Parameters in millions."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.1f} M"


def shape(layer):
    """(in, out) of a matrix."""
    return tuple(layer.weight.T.shape)


image, text = bio.image_tower, bio.text_tower
theirs, words = clip.text_tower, text.bert.token_embedding
pieces = theirs.token_embedding.num_embeddings, words.num_embeddings
show(Table(["", "CLIP ViT-B/16", "BiomedCLIP"], [
    ["image encoder", millions(clip.image_tower), millions(image)],
    ["text encoder", millions(theirs), millions(text)],
    ["pieces of words", *(f"{count:,}" for count in pieces)],
    ["positions of a text", str(len(theirs.pos)), str(len(text.bert.pos))],
    ["a token sees", "itself and before", "every token"],
    ["a text is read at", "its end", "[CLS], its beginning"],
    ["from there to E", f"one matrix, {shape(theirs.proj)}",
     f"two, {shape(text.fc1)} and {shape(text.fc2)}"],
    ["pictures", "CLIP's mean and std", "the same"],
]))

# %% [markdown]
# ## The cut on medical words
#
# A word that the vocabulary lacks is cut into pieces ([[2.7]]). The model can put the pieces together again, but it
# costs: more tokens for each sentence, and the meaning has to be learned from parts like `##op` and `##ath`. PubMedBERT
# therefore has a list of its *own*, learned from medical abstracts, and not only weights of its own.
#
# The real lists come with the weights. To see what they do, we learn two small ones, each from a text that stands in
# this lesson's script, one from daily life and one from hospital life. Learning is short: start from single letters,
# and let the pair of pieces that stands together most often become one piece, {=MERGES} times over.

# %% fold="The two texts, and sentences kept for the exam"
DAILY = """
The dog runs along the beach and plays with a red ball. Children build a
castle of sand near the water. An old man reads the newspaper on a bench in
the park. The train leaves the station at nine in the morning. She bought
fresh bread and butter at the market. A cat sleeps on the warm roof of the
house. The boys are playing football in the street after school. We walked
through the old town and looked at the shops. The kitchen smells of coffee and
apples. A woman with a green umbrella is waiting for the bus. They painted the
door of the garden house yellow. The birds are singing in the tall trees
behind the church. My sister plays the piano every evening. The teacher wrote
the answer on the board. Two friends are riding their bicycles along the
river. It was raining, and the streets were empty. The baker opens his shop
before the sun comes up. He parked the car beside the station and walked home.
The children fed the ducks with old bread. A farmer sells flowers and
vegetables on the market. In winter the lake is frozen and people go skating.
The library is open until eight in the evening. Grandmother told us a story
about the sea. They are cooking dinner in the kitchen and talking about the
holidays. A small boat is sailing towards the island. The shop sells books,
maps and toys. He wore a blue coat and brown shoes. The window was open, and
we heard the music of the dance. The waiter brought tea and a piece of cake.
She is watering the plants on the balcony.
"""
MEDICAL = """
The chest radiograph shows bilateral pneumonia with pleural effusion.
Echocardiography revealed hypertrophic cardiomyopathy and a pericardial
effusion. The biopsy of the lymph node shows metastasis of an adenocarcinoma.
Computed tomography of the abdomen shows acute pancreatitis. The patient had a
myocardial infarction and was treated with thrombolysis. Histopathology
confirmed a squamous cell carcinoma of the lung. Magnetic resonance imaging
shows a glioblastoma in the temporal lobe. Colonoscopy with biopsy revealed
ulcerative colitis. The electrocardiogram shows atrial fibrillation with a
rapid ventricular rate. Immunohistochemistry was positive for cytokeratin and
negative for melanoma markers. Ultrasonography of the liver shows hepatomegaly
and steatosis. A pneumothorax was seen on the chest radiograph after the
biopsy. Retinal fundus photography shows diabetic retinopathy with
haemorrhages. The patient developed bacterial meningitis and was treated with
antibiotics. Angiography shows a stenosis of the coronary artery. Microscopy
of the stained tissue shows necrosis and inflammation. Dermoscopy of the
lesion shows an atypical network suggestive of melanoma. Arthroscopy confirmed
osteoarthritis with loss of cartilage. Cytology shows atypical cells
suspicious for a lymphoma. Mammography shows clustered calcifications in the
left breast. Tomography after chemotherapy shows a partial response of the
hepatic metastases. The glomeruli show sclerosis and interstitial nephritis.
Bronchoscopy revealed an endobronchial carcinoma. Pulmonary fibrosis was
confirmed by histopathology.
"""
EXAM = {
    "daily life": """
    The children are playing with the dog in the garden. A man is selling
    apples and bread near the station. She walked home along the river in
    the evening. The boat is waiting beside the old house. He reads a book
    on the balcony. They are dancing in the street.
    """,
    "medicine": """
    Bronchoscopy with biopsy shows a carcinoma of the lung. The patient had
    cardiomegaly and pulmonary hypertension. Radiography shows osteosarcoma
    with pathological fracture. Encephalitis was suspected on magnetic
    resonance imaging. Histology of the nephrectomy confirmed a renal
    lymphoma. Endoscopy revealed gastritis.
    """,
}

# %%
from collections import Counter
from string import ascii_lowercase

from minimodels.words.word_piece import (
    SPECIALS,
    WordPieceTokenizer,
    normalize_words,
    split_punctuation,
)

MERGES = 300


def words_of(text):
    """The words of a text, as BERT splits it, without punctuation."""
    clean = normalize_words(text, lowercase=True, strip_accents=True)
    return [word for word in split_punctuation(clean) if word.isalpha()]


def join(cut, pair):
    """The pieces of one word; where the pair stands, its two become one."""
    out = []
    for piece in cut:
        if out and (out[-1], piece) == pair:
            out[-1] += piece.removeprefix("##")
        else:
            out.append(piece)
    return out


def learn_pieces(text, merges):
    """All letters, and `merges` pieces made of the most frequent pairs."""
    words = Counter(words_of(text))
    cuts = {w: [w[0], *(f"##{letter}" for letter in w[1:])] for w in words}
    letters = list(ascii_lowercase)
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    for _ in range(merges):
        pairs = Counter()
        for word, times in words.items():
            for pair in zip(cuts[word], cuts[word][1:]):
                pairs[pair] += times
        pair = max(pairs, key=lambda pair: (pairs[pair], pair))
        pieces.append(pair[0] + pair[1].removeprefix("##"))
        cuts = {word: join(cut, pair) for word, cut in cuts.items()}
    return WordPieceTokenizer([*SPECIALS, *dict.fromkeys(pieces)])


general, medical = learn_pieces(DAILY, MERGES), learn_pieces(MEDICAL, MERGES)
for name, text, own in (("daily life", DAILY, general),
                        ("medicine", MEDICAL, medical)):
    words = words_of(text)
    print(f"{name}: {len(words)} words, {sum(map(len, words)):,} letters,"
          f" a list of {own.vocab_size} pieces")

# %% [markdown]
# ::predict
#     Four words that stand in neither text: "cardiomegaly", "nephrectomy", "encephalitis" and "gardening". Which of
#     them will the medical list cut into fewer pieces than the other one? What will its pieces look like?
#
#     ---
#     All three medical ones, and some of its pieces look like parts of Greek: `nephr`, `##itis`. Nobody told it that
#     `##itis` is an inflammation; it is simply frequent.

# %%
NEW = ["cardiomegaly", "nephrectomy", "encephalitis", "gardening"]
cuts = [[" ".join(own.pieces(word)) for own in (general, medical)]
        for word in NEW]
show(Table(["word", "pieces of daily life", "pieces of medicine"],
           [[word, *cut] for word, cut in zip(NEW, cuts)]))

# %% [markdown]
# Four words prove nothing. The sentences that were kept for the exam stand in neither text (single words of them do, as
# in life). The table has pieces per word, with the interval in which the mean would lie for other words of the same
# kind (95 %), and how many more the list of daily life needs:


# %%
def spread(values):
    """The mean, and half the width of its 95 % interval."""
    values = torch.tensor(values, dtype=torch.float64)
    return values.mean().item(), 1.96 * (
        values.std() / len(values) ** 0.5
    ).item()


def fertility(tokenizer, words):
    """Pieces of each word."""
    return [len(tokenizer.pieces(word)) for word in words]


exam = {field: words_of(text) for field, text in EXAM.items()}
rows, saved = [], {}
for field, words in exam.items():
    counts = [fertility(tokenizer, words) for tokenizer in (general, medical)]
    saved[field] = spread([a - b for a, b in zip(*counts)])
    shown = ["{:.2f} ± {:.2f}".format(*spread(count)) for count in counts]
    difference = "{:+.2f} ± {:.2f}".format(*saved[field])
    rows.append([field, str(len(words)), *shown, difference])
show(Table(["exam", "words", "list of daily life", "list of medicine",
            "difference"], rows))

# %% [markdown]
# Each list is at home in its own field. In medicine the general one needs {=saved["medicine"][0]:.1f} pieces more for
# each word. What this table is *not*: a figure for BERT and PubMedBERT. Their tables have 30,522 rows each, our lists
# {=medical.vocab_size} pieces; bert-base-uncased knows many medical words whole. With either file at hand the lines
# near the end of this page print the real cut.
#
# A list has one more trap. BERT's and PubMedBERT's tables have the same number of rows, so ids of the one fit the table
# of the other, nothing complains, and every text is nonsense. Even the special pieces may lie elsewhere:

# %%
from minimodels.words.word_rows import WordRows

PIECES = ["of", "lung", "a", "cell"]
FIRST = [*SPECIALS, *PIECES]
LATER = ["[PAD]", *PIECES, *SPECIALS[1:]]  # BERT's own begin at 100
for name, vocabulary in (
    ("specials first", FIRST),
    ("specials later", LATER),
):
    rows = WordRows(vocabulary, context_length=8, frame="plain")
    print(f"{name}: {rows('a cell of a lung')[0].tolist()}")

# %% [markdown]
# So no id of a special piece may stand in code: our table reads them from the `vocab.txt` that lies beside the weights,
# and refuses a list with more pieces than the table has rows, or far fewer.
#
# ## Where a BERT is read
#
# A BERT comes with a pooler of its own: [CLS], one more matrix, tanh. BiomedCLIP leaves it out, takes [CLS] as it is
# and has its own head, 768 to 640 to 512 with a GELU between (640 is the mean of the other two):
#
# $$
# t = W_2 \; \mathrm{GELU}\big( W_1 \, x_{\texttt{[CLS]}} \big), \qquad
# W_1 \in \mathbb{R}^{640 \times 768}, \; W_2 \in \mathbb{R}^{512 \times 640}
# $$
#
# Three other ways of reading have the same shape. All four beside open_clip, whose small model got random numbers that
# are also ours:

# %%
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.suite import reference_named, twins

pair = twins(reference_named("BiomedCLIP", "open_clip"))
ours, theirs, ids = (
    pair.ours.double(),
    pair.theirs.double(),
    pair.inputs["ids"],
)
tower = ours.text_tower
with torch.inference_mode():
    expected = theirs.encode_text(ids)
    tokens = tower.bert(ids, ids != 0)  # (3, 11, 32)
    real = (ids != 0).unsqueeze(-1)
    WAYS = {
        "[CLS] as it is": tokens[:, 0],
        "tanh of [CLS]": tokens[:, 0].tanh(),
        "the mean of all tokens": (tokens * real).sum(1) / real.sum(1),
        "the last token": tokens[:, -1],
    }
    heads = {name: tower.fc2(tower.activation(tower.fc1(read)))
             for name, read in WAYS.items()}
    gaps = {name: difference(head, expected) for name, head in heads.items()}
show(Table(["read at", "largest difference from open_clip"],
           [[name, f"{gap:.0e}"] for name, gap in gaps.items()]))

# %% [markdown]
# The config of the first upload, in April 2023, said `cls_pooler`, which is BERT's own with its tanh; in November 2023
# other weights and another word replaced it. Copies of the first one are still around: our converter refuses a file
# with that pooler in it, because without the pooler it would load, run and answer something else.
#
# ## The trap of 512
#
# Captions of papers are long. CLIP's 77 tokens cut many of them, so BiomedCLIP was trained with 256; the authors' own
# comparison gives it between four and five points of retrieval. Where does that 256 stand?
#
# ::predict answer="{=claimed}|40"
#     The small model above has a BERT with a table of {=len(tower.bert.pos)} positions, and was trained, let us say, on
#     rows of 16. What does open_clip's `model.context_length` say?
#
#     ---
#     {=claimed}: the length of BERT's table. In the real one it says 512. Only the tokenizer knows of 256; the upper
#     half of the table was never trained with pictures.

# %%
claimed = theirs.context_length
print("open_clip's model.context_length:", claimed)
print("rows of BERT's table of positions:", len(tower.bert.pos))

# %% [markdown]
# Rows of 256 are nearly all padding. No token looks at padding, so it can be cut off, and must be if time counts:

# %%
LENGTH = 256
rows = WordRows(medical.vocabulary, context_length=LENGTH, frame="plain")
sentences = [line.strip() for line in EXAM["medicine"].split(".")[:-1]]
captions = rows(sentences)
longest = int((captions != rows.pad).sum(dim=1).max())
padding = (captions == rows.pad).float().mean().item()
print(
    f"{len(sentences)} captions: {padding:.1%} of {LENGTH} ids are padding"
)
print(f"the longest has {longest} tokens")

with torch.inference_mode():
    width = claimed - ids.shape[1]
    padded = torch.cat(
        [ids, torch.zeros(len(ids), width, dtype=ids.dtype)], 1
    )
    change = difference(ours.encode_text(padded), ours.encode_text(ids))
print(
    f"from {ids.shape[1]} to {claimed} ids, the answer moves by {change:.0e}"
)

# %% [markdown]
# ::source minimodels.biomedclip.BiomedCLIP.trim nodoc
#
# Do not do this to a CLIPS: there padding is seen, and the last place is the one that is read.
#
# ## Two templates
#
# For zero-shot classification ([[3.4]]) the paper writes two sentences around each label, for lymph nodes
# "this is an image of {}" and "{} presented in image". How the two become one answer is not stated. Does it matter? We
# cannot ask BiomedCLIP here, but tiny CLIP can answer for its own world: the same two sentences about its labels, three
# ways to join them, {=len(kinds)} unseen pictures.

# %%
import torch.nn.functional as F

import minimodels
from lessons.stickers.exams import singles
from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import TEST
from lessons.train.measures import embed_images
from minimodels.words.templates import label_embeddings

tiny = minimodels.load("tiny-clip")
questions = singles(TEST, rounds=3)
kinds = torch.from_numpy(questions.kinds)
I = embed_images(tiny, questions.images)  # (pictures, E), unit vectors
TWO = ["this is an image of {}", "{} presented in image"]
A, B = (label_embeddings(tiny, CLASSES, [template]) for template in TWO)
scale = tiny.logit_scale.exp().item()


def chances(vectors):
    """Softmax over the labels, for every picture."""
    return (scale * I @ vectors.T).softmax(dim=1)


JOINED = {
    "the first alone": chances(A),
    "the second alone": chances(B),
    "the mean of the vectors": chances(F.normalize(A + B, dim=1)),
    "the mean of the probabilities": chances(A) + chances(B),
    "the better cosine of the two": torch.maximum(I @ A.T, I @ B.T),
}
right = {n: (s.argmax(1) == kinds).double() for n, s in JOINED.items()}
usual = right["the mean of the vectors"]
rows = []
for name, hits in right.items():
    gap, half = spread((100 * (hits - usual)).tolist())
    beside = "" if hits is usual else f"{gap:+.1f} ± {half:.1f}"
    rows.append([name, f"{hits.mean().item():.1%}", beside])
show(Table(["joined by", "right", "points beside the mean"], rows))

# %% [markdown]
# The last column compares picture by picture; where its interval holds 0, the two ways are not told apart by this exam.
# Both sentences are foreign to tiny CLIP, whose captions say "a dog on grass", and one of them is worse than the other:
# then the mean of the vectors ({=usual.mean():.1%}) need not beat the better one alone. One model and one pair of
# sentences: take it as a habit to look at each sentence by itself, not as a law. The mean of the vectors has one
# advantage that no exam shows: the classifier stays one matrix.
#
# ## Equal to the library
#
# open_clip's model, joined from timm's ViT and transformers' BERT, every parameter redrawn, in float64:

# %%
from checkpoints_convert.proof.verify import verify

for comparison in verify("biomedclip").comparisons:
    names = ("output", "block", "gradient")
    gaps = [f"{kind} {comparison.largest(kind):.0e}" for kind in names]
    print(comparison.title.split(":")[0], "the same:", comparison.ok)
    print("  ", ", ".join(gaps))

# %% [markdown]
# ## With the official weights
#
# They are 784 MB, under MIT; the card asks to use them for research only and not on patients. With a network, or the
# files placed by hand:
#
# ```sh
# python -m checkpoints_convert fetch \
#     microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224
# python -m minimodels zero-shot slide.png \
#     "normal lymph node" "lymph node metastasis" \
#     --template "this is an image of {}" \
#     --template "{} presented in image" \
#     --model microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224
# ```
#
# And the real cut, with the `vocab.txt` of either:
#
# ```python
# from minimodels.words.word_piece import *
#
# tokenizer = WordPieceTokenizer(read_vocabulary("vocab.txt"))
# print(tokenizer.pieces("cardiomegaly"))
# ```
#
# ## Write it yourself
#
# The head behind [CLS], a row of ids from any vocabulary, and the cut of the padding.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | every text about equally near to every picture | the vocabulary of bert-base-uncased: as many pieces, others |
# | a little off everywhere | row 0 of the token types left out: BERT adds it to every token |
# | other answers than published, all plausible | weights of April 2023, or BERT's pooler with its tanh |
# | out of memory, or slow | rows of 512, because `context_length` says so; trim them |
# | an error about `proj` or `pooler_type` | a config from before November 2023 in a newer open_clip, or the other way round |
# | answers change from call to call | BERT's dropout is on: `model.eval()` |
# | a number of percent for a patient | none of this is a diagnosis; the card says research only |
#
# ::quiz
#     You want a CLIP for satellite pictures and have a million of them with captions. What does BiomedCLIP suggest?
#
#     - [ ] A new architecture for the field :: Its architecture is two well-known encoders and three matrices.
#     - [x] Start from encoders that know one side each, and look at how your words are cut :: PubMedBERT brought words
#       and text, ImageNet the eyes, the fifteen million pairs the rest.
#     - [ ] OpenAI's CLIP with a longer context :: A longer table of positions must be trained; words it cuts to crumbs
#       stay crumbs.
#
# ## The paper, and the same lines in the libraries
#
# Zhang et al. 2023 describe the data (PMC-15M), the choice of text encoder and vocabulary, the context length and the
# sentences of each benchmark. The released weights decide the rest: no bias in the three projections, eps 1e-6 in the
# ViT and 1e-12 in BERT.
#
# In **open_clip** it is `CustomTextCLIP`: `TimmModel` (`visual.trunk`, `visual.head.proj`) and `HFTextEncoder`
# (`text.transformer`, `text.proj`) with the pooler `ClsLastHiddenStatePooler`. **timm** gives the ViT without its head,
# **transformers** the `BertModel` built with `add_pooling_layer=False`. open_clip makes the padding mask from the ids,
# as `ids != pad_token_id`; so do we.
