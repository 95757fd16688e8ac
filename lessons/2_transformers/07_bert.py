"""BERT: reading in both directions

"Left of a tree": to know what "left" means here, one has to have read on. CLIP's text tower never does, BERT always
does. You cut words into pieces as BERT cuts them, see what padding does to a sentence when nobody hides it, and train
two tiny readers in a few seconds: one that looks both ways and one that looks back only.

nav: BERT
minutes: 25
needs: 2.1, 2.2
paper: [Devlin et al. 2019](https://arxiv.org/abs/1810.04805), section 3; [Sanh et al. 2019](https://arxiv.org/abs/1910.01108)
code: minimodels/bert.py, minimodels/words/byte_pair.py
"""

# %% [markdown]
# ## One direction or two
#
# A text transformer is a stack of blocks ([[2.2]]) over the vectors of words. What each word may look at is a choice.
# Below, row $i$ says what token $i$ may see. A causal tower can be trained to say what comes next, because the next
# word is hidden from it. BERT sees the whole sentence at once, so another task is needed, and it comes further down.

# %% fold="Drawing code"
from lessons.book.diagrams import Drawing, Table, show

words = ["[CLS]", "left", "of", "a", "tree", "[SEP]", "[PAD]"]
drawing = Drawing(
    640, 190, "Two grids of seven tokens by seven. Left, CLIP: each token "
    "sees itself and what stands before it, a triangle. Right, BERT: each "
    "token sees every token but the padding, a full square without its "
    "last column")
for left, name, seen in (
        (96, "CLIP: causal", lambda i, j: j <= i),
        (428, "BERT: both ways, padding hidden", lambda i, j: j < 6)):
    drawing.text(left + 70, 14, name)
    drawing.grid(left, 24, 20, [[float(seen(i, j)) for j in range(7)]
                                for i in range(7)], tone="blue")
    for i, word in enumerate(words):
        drawing.text(left - 6, 34 + 20 * i, word, anchor="end", size=11)
    drawing.text(left + 70, 178, "columns: the same tokens in order", size=11)
show(drawing)

# %% [markdown]
# ## Words in pieces
#
# Before that, the text has to become numbers. CLIP learned merges of bytes ([[3.1]]); BERT has a list of **pieces**,
# WordPiece. A piece that does not begin its word carries `##`. A word is cut greedily: the longest piece of the list
# that fits at its beginning, then the longest that fits behind that, and so on.
#
# ::source minimodels.words.word_piece.longest_match nodoc
#
# The list of bert-base-uncased has 30,522 pieces and comes with its weights. These few will do here:
#
# ::predict answer="un ##play ##able|un, ##play, ##able|un,##play,##able|un+##play+##able"
#     The list has `un`, `play`, `##play`, `##able`, `##a`, `##ble`, `playing`, `##ing`, `##s`. How is "unplayable" cut?
#
#     ---
#     `un ##play ##able`. `play` cannot stand in the middle of a word, `##play` can; and `##able` is longer than `##a`.

# %%
from minimodels.words.word_piece import (
    SPECIALS,
    WordPieceTokenizer,
    longest_match,
)

PIECES = [*SPECIALS, "un", "play", "##play", "##able", "##a", "##ble",
          "playing", "##ing", "##s", "the", "dog", "cafe", "!", "'", "t",
          "don"]
for word in ["playing", "plays", "unplayable", "unplayed", "dogs", "cat"]:
    print(f"{word:11}", *longest_match(word, set(PIECES)))

# %% [markdown]
# "unplayed" began well (`un ##play`), and then there is no `##e`. The **whole word** is lost, not only its end. Nothing
# is unknown to BPE on bytes; here a word can be, and so can an emoji or a script whose letters are not on the list.
#
# Another difference: merges have an order, pieces have none. The same list in another order gives other ids and the
# same cuts.
#
# ::quiz
#     With the merges a + b, b + c, a + bc the piece `abc` is in BPE's vocabulary, yet the word "abc" becomes `ab c`.
#     Could that happen to WordPiece?
#
#     - [x] No: it looks for the longest piece first, and finds `abc` :: BPE replays its merges in the order learned: a + b comes
#       first, and then no merge takes `ab` and `c`. A greedy longest match knows no order.
#     - [ ] Yes, if `ab` stands before `abc` in the list :: The place in the list is only the id.
#     - [ ] Yes, because `##c` is shorter :: Shorter pieces are tried only when no longer one fits.
#
# ## What the text loses on the way
#
# Before it is cut, a text is cleaned. An uncased BERT throws away case and accents, and every BERT throws away control
# characters and puts spaces around punctuation and around each Chinese character:
#
# ::source minimodels.words.word_piece.normalize_words nodoc

# %%
tokenizer = WordPieceTokenizer(PIECES)
cased = WordPieceTokenizer(PIECES, lowercase=False)
texts = ["The café!", "Don't play", "dog\u00ads", "dog\u200b\u200d s", "犬dog",
         "the [SEP] dog", "🦊"]
show(Table(["text", "uncased", "cased"], [
    [ascii(text)[1:-1] if not text.isprintable() else text,
     ", ".join(tokenizer.pieces(text)), ", ".join(cased.pieces(text))]
    for text in texts]))

# %% [markdown]
# The soft hyphen (`\xad`) and the joiners (`\u200b`) vanish and leave no gap. "[SEP]" inside a text becomes the real
# separator: whoever builds on this should not paste strangers' texts unchecked. The library treats it the same way, and ours is held equal
# to it on thousands of nasty strings, down to a curiosity: its tables are those of Unicode 8.0 of 2015, so that a
# punctuation mark from 2016 on is a letter to it.
#
# ## A sentence becomes a matrix
#
# A row of ids begins with `[CLS]` and ends with `[SEP]`. BERT was trained on pairs of texts, so there is a second
# `[SEP]` behind the second text, and each token is told which text it is in:

# %%
pair, types = tokenizer.encode_pair("The dog plays", "the cafe!")
show(Table(["", *(tokenizer.vocabulary[id] for id in pair)], [
    ["id", *map(str, pair)], ["position", *map(str, range(len(pair)))],
    ["type", *map(str, types)]]))

# %% [markdown]
# Three learned tables, one row of each, summed and normalised ($E$ words, $P$ positions, $S$ types):
#
# $$
# x_i = \operatorname{LN}\bigl(E_{\text{id}(i)} + P_i + S_{\text{type}(i)}\bigr) \qquad x_i \in \mathbb{R}^D
# $$
#
# ::source minimodels.bert.BERT.embed nodoc
#
# Type 0 is learned like everything else: a single sentence without its type row is another sentence, everywhere.
# The norm is there because of what follows.
#
# ## Post-norm
#
# BERT's blocks are those of the first Transformer. The norm stands on the stream, after each sum ([[2.2]] measures what
# that means for training):
#
# ::source minimodels.blocks.PostNormBlock.forward nodoc
#
# So a block expects normalised tokens and leaves normalised tokens. The embedding needs a norm of its own, and behind
# the last block there is none. The whole model:
#
# ::source minimodels.bert.BERT.forward nodoc
#
# ::predict
#     Somebody loads BERT's weights into pre-norm blocks. All names and shapes fit. By how much do the answers change, if
#     their numbers have spread 1?
#
#     ---
#     By {=wrong:.1f} on average, in a small BERT of two blocks with random weights. Two rows of random numbers would differ by 1.1: nothing
#     is left of the answers. Weights belong to an order of operations, and shapes do not tell which.

# %%
import torch
import torch.nn.functional as F

from minimodels.bert import BERT
from minimodels.blocks import Block, PostNormBlock

torch.manual_seed(0)
SMALL = {"vocab_size": 60, "max_length": 16, "embed_dim": 48, "depth": 2,
         "num_heads": 4, "mlp_dim": 192, "token_types": 2}
small = BERT(**SMALL).eval()
for parameter in small.parameters():
    torch.nn.init.normal_(parameter, std=0.3)
ids = torch.randint(5, 60, (1, 8))
with torch.no_grad():
    right = small(ids)
    for block in small.blocks:
        block.__class__ = Block                    # pre-norm, same weights
    spread_one = F.layer_norm(small(ids), (48,)), F.layer_norm(right, (48,))
    wrong = (spread_one[0] - spread_one[1]).abs().mean().item()
    for block in small.blocks:
        block.__class__ = PostNormBlock
print(f"average change of numbers with spread 1: {wrong:.2f}")

# %% [markdown]
# ## Padding has to be hidden
#
# Sentences of a batch have different lengths; the shorter ones are filled with `[PAD]`. `[PAD]` has a row in the table
# like any piece, so it has a key and a value, and everybody would look at it. The mask says who is real:
#
# ::source minimodels.bert.BERT.key_mask nodoc
#
# Take one sentence alone, and the same sentence in longer and longer rows:

# %% alt="Two curves over the number of padding tokens, zero to eight. With the mask the change of the sentence's tokens is zero everywhere. Without it the change jumps with the first padding token and keeps growing." caption="How far the sentence's own tokens move when padding is added behind them."
import matplotlib.pyplot as plt

alone = torch.randint(5, 60, (1, 6))
moved = {"with the mask": [], "without": []}
with torch.no_grad():
    expected = small(alone)
    for padding in range(9):
        row = torch.cat([alone, torch.zeros(1, padding).long()], dim=1)
        mask = (torch.arange(row.shape[1]) < 6).long()[None]
        for name, given in (("with the mask", mask), ("without", None)):
            change = small(row, given)[:, :6] - expected
            moved[name].append(change.abs().max().item())
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
for name, changes in moved.items():
    axis.plot(changes, marker="o", label=name)
axis.set_xlabel("padding tokens behind the sentence")
axis.set_ylabel("largest change")
axis.legend()
plt.show()
first, masked = moved["without"][1], max(moved["with the mask"])

# %% [markdown]
# Without the mask one `[PAD]` moves an answer by {=first:.2f}; with it, eight of them move nothing but the last digits of float32
# ({=masked:.0e}). The nasty part: with a batch of one nothing is padded and all tests pass. The mistake shows when somebody batches.
#
# CLIP gets by without a mask. Its padding stands behind the text, and a causal tower does not look there.
#
# ## Learn by filling gaps
#
# BERT's training task: hide some words, and let the model say what stood there. The scores for all words of the
# vocabulary are the dot products of the hidden place's answer with the word table itself (transposed: the same $E$ that reads the
# words in).
#
# Do it in small, with captions of Sticker World. **Both readers have the same block and the same task; one of them is made
# causal.** They are tiny: one block, 64 numbers a token. The vocabulary is every word of the captions:

# %%
from lessons.stickers import exams
from lessons.stickers.splits import VAL
from minimodels.words.word_piece import learn_words


def captions(numbers, split=exams.TRAIN):
    """Short captions of scenes, most of them with one sticker."""
    _, found = exams.training_captions(numbers, single_share=0.8, split=split)
    return [text.removeprefix("a picture of ") for text in found
            if len(text.split()) <= 9]


train, held_out = captions(range(5000)), captions(range(600), VAL)
reader = WordPieceTokenizer(learn_words(train), context_length=16)
ids, mask = reader(train)
gap = reader.ids["[MASK]"]
print(f"{len(train)} captions, {reader.vocab_size} pieces, for example:")
for text in train[4:9]:
    print("  ", text)

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel


def scores_of(model, ids, mask):
    """A score for each piece of the vocabulary, at each place."""
    return model(ids, mask) @ model.token_embedding.weight.T


def learn(causal, steps=350, rate=8e-3):
    torch.manual_seed(0)
    model = BERT(vocab_size=reader.vocab_size, max_length=16, embed_dim=64,
                 depth=1, num_heads=4, mlp_dim=256, token_types=0)
    for block in model.blocks:
        block.attn.causal = causal
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for step in range(steps):
        warm = min(1, (step + 1) / 30)           # post-norm wants a warm-up
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * (1 - step / steps)
        rows = torch.randint(len(ids), (96,))
        word = (mask[rows] == 1) & (ids[rows] > gap)
        hidden = word & (torch.rand(word.shape) < 0.25)
        seen = ids[rows].masked_fill(hidden, gap)
        with sdpa_kernel(SDPBackend.MATH):     # quicker at this size
            scores = scores_of(model, seen, mask[rows])[hidden]
        loss = F.cross_entropy(scores, ids[rows][hidden])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


readers = {"both ways": learn(causal=False), "looks back only": learn(True)}

# %% [markdown]
# Now hide one word at a time in captions that neither has seen. Three kinds of gap:
#
# - "a star ___ the sky", "a fish ___ water", "a cat ___ night": `in`, `on` or `at`?
# - "a small ___ dog": a colour is missing; any colour counts as right here;
# - any word at all.
#
# ::predict
#     In which of the three is the reader that only looks back far behind, and why?
#
#     ---
#     In the first two. What decides between `in`, `on` and `at` stands *behind* the gap, and so does the noun that shows that a colour
#     belongs before it. Looking back, one can only name what is most frequent: {=found["looks back only"]["in, on, at"]:.0%} and
#     {=found["looks back only"]["a colour"]:.0%} found, where the reader of both sides finds {=found["both ways"]["in, on, at"]:.0%} and
#     {=found["both ways"]["a colour"]:.0%}. (Elsewhere these may differ by several per cent.)

# %%
test_ids, test_mask = reader(held_out)


def where(words):
    """Rows and places of these words in the held-out captions."""
    wanted = torch.tensor([reader.ids[word] for word in words])
    return torch.isin(test_ids, wanted).nonzero(as_tuple=True)


@torch.no_grad()
def share_found(model, words, any_of_them=False):
    """Hide each of these words, one at a time; is it named first?"""
    rows, places = where(words)
    seen, each = test_ids[rows].clone(), torch.arange(len(rows))
    seen[each, places] = gap
    best = scores_of(model, seen, test_mask[rows])[each, places].argmax(-1)
    if any_of_them:
        right = torch.isin(best, torch.tensor([reader.ids[w] for w in words]))
    else:
        right = best == test_ids[rows, places]
    return right.float().mean().item()


kinds = {"in, on, at": ["in", "on", "at"],
         "a colour": ["red", "yellow", "green", "blue", "purple"],
         "any word": reader.vocabulary[gap + 1:]}
found = {name: {kind: share_found(model, words, kind == "a colour")
                for kind, words in kinds.items()}
         for name, model in readers.items()}
show(Table(["reader", *(f"{kind}: {len(where(words)[0])} gaps"
                        for kind, words in kinds.items())], [
    [name, *(f"{share:.0%}" for share in shares.values())]
    for name, shares in found.items()]))

# %% [markdown]
# "Any word" stays far from 100 % for both, and should: nobody can know which animal stood in "a ___ on water".
# Look at single gaps instead. The bars are probabilities (softmax of the scores):

# %% alt="Four sentences with a gap, and for each of the two readers the three likeliest words with their probabilities as bars. The reader of both sides is nearly sure of in before the sky, and puts red, yellow and blue before dog; before night it says on, and at comes second. The other one says on in both cases, hardly any colour before dog, and small or big where the noun of a ___ on water is missing; there the first one spreads its guesses over many nouns." caption="Three likeliest words for a gap."
gaps = ["a star [MASK] the sky", "a cat [MASK] night",
        "a small [MASK] dog on grass", "a [MASK] on water"]
figure, axes = plt.subplots(2, 4, figsize=(6.6, 3.4), layout="constrained",
                            sharex=True)
for column, text in enumerate(gaps):
    row, ones = reader(text)
    place = row[0].tolist().index(gap)
    for line, (name, model) in enumerate(readers.items()):
        with torch.no_grad():
            chances = scores_of(model, row, ones)[0, place].softmax(-1)
        top = chances.topk(3)
        axis = axes[line, column]
        axis.barh([reader.vocabulary[id] for id in top.indices], top.values)
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.tick_params(labelsize=8)
        if line == 0:
            shown = text.replace("[MASK]", "___")
            axis.set_title(shown.replace(" on ", "\non ").replace(
                " the", "\nthe"), fontsize=8)
        if column == 0:
            axis.set_ylabel(name, fontsize=8)
plt.show()

# %% [markdown]
# In "a ___ on water" the first reader knows that a noun is missing, though not which; the other one expects a size. And it is not
# perfect: "a cat on night" is what 350 steps on one core leave behind.
#
# The real BERT hides 15 % of the words of books and of Wikipedia; of those it shows `[MASK]` for 80 %, a random word for
# 10 % and the word itself for 10 %, because nobody will write `[MASK]` when it is used (section 3.1, task 1). Its
# second task, whether two texts follow each other, trained the *pooler*, a tanh layer over `[CLS]`. LAVT ([[4.4]])
# throws the pooler away and reads every token.
#
# ## DistilBERT: half of the blocks
#
# Look at the bars again. The wrong guesses are not noise: they say which words could have stood there. A small model
# can learn from these *soft targets* of a large one, with a temperature $T$ that makes them softer (Sanh et al. 2019, section 2;
# Hinton et al. 2015):
#
# $$
# L = T^2 \sum_w p_w \log\frac{p_w}{q_w} \qquad p = \operatorname{softmax}(z_{\text{teacher}} / T),\quad
# q = \operatorname{softmax}(z_{\text{student}} / T)
# $$
#
# DistilBERT starts from every other block of BERT, and is trained with this loss, the gaps, and a third loss that aligns the
# directions of the hidden vectors. It has no token types and no pooler. In our code it is the same class with other numbers:
#
# ::predict answer="{=millions[1]:.0f}"
#     BERT-base has {=millions[0]:.0f} million parameters without its pooler. Half of the blocks: how many millions are left?
#
#     ---
#     {=millions[1]:.0f}, and not half: the word table of 30,522 rows of 768 ({=table:.0f} million) stays whole. It costs memory, but no time: it is
#     looked up, not multiplied.

# %%
from torch.utils.flop_counter import FlopCounterMode

millions, work = [], []
for numbers in ({"depth": 12}, {"depth": 6, "token_types": 0}):
    with torch.device("meta"):
        model = BERT(**numbers)
        tokens = torch.zeros(1, 20, 768)
    millions.append(sum(p.numel() for p in model.parameters()) / 1e6)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for block in model.blocks:
            tokens = block(tokens)
    work.append(counter.get_total_flops() / 2e9)
table = 30522 * 768 / 1e6
show(Table(["", "blocks", "parameters", "multiply-adds, 20 tokens"], [
    [name, str(blocks), f"{m:.0f} M", f"{w:.1f} G"] for name, blocks, m, w in
    zip(("BERT-base", "DistilBERT"), (12, 6), millions, work)]))

# %% [markdown]
# The authors report 97 % of BERT's score on a language benchmark, with 40 % fewer parameters, 60 % faster.
#
# ## What CLIP's text tower does otherwise
#
# | | BERT | CLIP's text tower ([[3.2]]) |
# |---|---|---|
# | pieces | WordPiece, words can be unknown | BPE on bytes, nothing is unknown |
# | each token sees | all tokens but padding | itself and what came before |
# | norm | after each sum, eps 1e-12 | before attention and MLP, one more at the end, eps 1e-5 |
# | first norm | behind the embedding | none there |
# | activation | exact GELU | QuickGELU in OpenAI's weights |
# | token types | two | none |
# | padding | hidden by a mask | needs none |
# | the sentence | `[CLS]`, or all tokens | the token at end of text |
# | taught by | gaps in books | pictures |
#
# Where the sentence is read follows from who sees what. In a causal tower only the last token has seen everything, so
# CLIP reads there. In BERT every token has; `[CLS]` is a place kept free for the whole.
#
# ## Equal to the library
#
# transformers' `BertModel` and `DistilBertModel` with every parameter redrawn, converted by the table, in float64: outputs
# with and without padding, every block, every gradient.

# %%
from checkpoints_convert.proof.verify import verify

for comparison in verify("bert").comparisons:
    kinds = {kind: comparison.largest(kind)
             for kind in ("output", "block", "gradient")}
    print(comparison.title.split(":")[0], "the same:", comparison.ok)
    print("  ", ", ".join(f"{kind} {gap:.0e}" for kind, gap in kinds.items()))

# %% [markdown]
# Twenty-six wrong BERTs, pre-norm, tanh GELU, mask inverted, types forgotten, positions from 1 and others, fail the same comparison.
# The official files spell the norms in two ways, `gamma` and `beta` in Google's, `weight` and `bias` since; the table
# reads both:
#
# ::source checkpoints_convert.tables.bert.norm_rows fold="How both spellings are read"
#
# With a network, `checkpoints_convert.load("google-bert/bert-base-uncased")` fetches the real one, with its `.tokenize` beside it.
#
# ## Write it yourself
#
# The cut, the post-norm block, the mask, the embedding; and a sentence vector to repair.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | answers change with the other sentences of the batch | padding is not masked |
# | right for single sentences, wrong in batches | the same |
# | NaN in some rows | a mask with no token at all, or minus infinity added to a whole row |
# | nearly right, off everywhere by a little | token type 0 left out, or eps 1e-5, or tanh GELU |
# | nonsense, shapes right | pre-norm blocks, or no norm behind the embedding |
# | many `[UNK]` | an uncased vocabulary and capital letters in the text, or accents kept |
# | a long sentence loses its end in silence | cut at 512; LAVT cuts at 20, and cuts off `[SEP]` too |
# | ids beyond the table | the vocabulary of another model |
#
# ## The paper, and the same lines in the libraries
#
# Devlin et al. 2019: the input is figure 2, the two tasks section 3.1, the sizes section 3. WordPiece is described by Wu et al. 2016, section
# 4.1. The released code decides what the paper leaves open: exact GELU, eps 1e-12, cleaning before cutting.
#
# In **transformers** the embedding is `BertEmbeddings`, the block `BertLayer` (its norms are called `attention.output.LayerNorm` and
# `output.LayerNorm`), DistilBERT's block `TransformerBlock` with `sa_layer_norm` and `output_layer_norm`. The mask is called
# `attention_mask`, the types `token_type_ids`. Its `BertTokenizer` runs the Rust library **tokenizers**: `BertNormalizer`,
# `BertPreTokenizer` and the model `WordPiece`. In **PyTorch** the block is `nn.TransformerEncoderLayer` with `activation="gelu"` and
# `layer_norm_eps=1e-12`; its `src_key_padding_mask` is the other way round: true where nobody may look.
