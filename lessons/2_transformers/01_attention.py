"""Attention: a dictionary that answers with a mixture

A word means little without the words around it, and a patch of fur means little without the rest of the dog. How does one token get what
it needs from all the others, when nobody tells it where to look? You build the answer in six lines, find out what the small factor
1/√d is for by taking it away, and hold the result against PyTorch's own to the last digit.

nav: Attention
minutes: 20
paper: [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.2
code: minimodels/blocks.py
"""

# %% [markdown]
# ## A soft dictionary
#
# A Python dictionary compares your query with its keys, and gives the value of the one key that is equal. It has two faults for a network:
# a query that is *nearly* right gets nothing, and there is no gradient, because a small change of the query changes nothing or everything.
#
# So let queries and keys be vectors, and let every value answer, each as loudly as its key is like the query. Here are three things in a
# shop. The key says how sweet and how round each one is, from -1 to 1; the value is its price. We ask for something round and fairly sweet:

# %%
import torch

torch.set_printoptions(precision=3, sci_mode=False)
keys = torch.tensor([
    [0.8, 0.9],    # an apple: sweet, round
    [0.9, -0.6],   # a banana: sweet, long
    [-0.7, -0.9],  # a cucumber: neither
])
prices = torch.tensor([4.0, 3.0, 1.0])
query = torch.tensor([0.5, 1.0])

scores = keys @ query             # how like is each key to the query?
weights = scores.softmax(dim=0)   # positive numbers that sum to one
print("scores ", scores)
print("weights", weights)
print("price  ", weights @ prices)

# %% [markdown]
# The score of a key is its dot product with the query. Softmax turns scores into weights,
# $\operatorname{softmax}(s)_i = e^{s_i} / \sum_j e^{s_j}$: all positive, their sum one. The answer is the mean of the values with these
# weights. Nothing is looked up, everything is mixed, and each number of query, key and value has a gradient.
#
# ::predict answer="{=shop(0):.2f}|8/3"
#     The query is multiplied by 0. What price comes out? And by 100? (Check the first.)
#
#     ---
#     With 0 all scores are equal, so are the weights, and the answer is the plain mean of the three prices. With 100 the best key takes
#     all, and the answer is the apple's price: the Python dictionary is the limit of long queries.

# %%
def shop(length):
    """The price for a query of this length."""
    return ((keys @ (length * query)).softmax(dim=0) @ prices).item()


for length in (0, 1, 3, 10, 100):
    taken = (keys @ (length * query)).softmax(dim=0).tolist()
    print(f"{length:3} x query   weights", *(f"{w:.3f}" for w in taken),
          f"  price {shop(length):.3f}")

# %% [markdown]
# Remember the length of the query. It decides between mixing and choosing, and it comes back below.
#
# ## The equation
#
# In a network many queries ask at once. Stack $N$ queries into $Q$, $M$ keys and values into $K$ and $V$ (Vaswani et al. 2017,
# equation 1):
#
# $$
# \operatorname{attention}(Q, K, V) = \operatorname{softmax}\left(\frac{Q K^{\mathsf T}}{\sqrt{d}}\right) V
# \qquad Q \in \mathbb{R}^{N \times d},\quad K \in \mathbb{R}^{M \times d},\quad V \in \mathbb{R}^{M \times e}
# $$
#
# Entry $(i, j)$ of $Q K^{\mathsf T}$ is the score of query $i$ with key $j$, so softmax runs along the *keys*: row $i$ of the weights says
# how much query $i$ takes from each token, and sums to one. In code, with every axis by name:

# %%
import torch.nn.functional as F
from einops import einsum, rearrange


def attention(q, k, v, scale=None):
    """(B, N, d), (B, M, d), (B, M, e) -> (B, N, e)."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = einsum(q, k, "b i d, b j d -> b i j") * scale     # (B, N, M)
    weights = scores.softmax(dim=-1)                           # over the keys
    return einsum(weights, v, "b i j, b j e -> b i e")         # (B, N, e)


torch.manual_seed(0)
q = torch.randn(2, 5, 16, dtype=torch.float64)   # 5 queries
k = torch.randn(2, 7, 16, dtype=torch.float64)   # 7 keys
v = torch.randn(2, 7, 24, dtype=torch.float64)   # their values, wider
ours, kernel = attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
gap = (ours - kernel).abs().max().item()
print(tuple(ours.shape), f"largest difference {gap:.0e},",
      f"below 1e-15: {gap < 1e-15}")

# %% [markdown]
# The two agree to round-off (float64 carries about 16 digits; the last one may differ on your machine). What our models run is
# `F.scaled_dot_product_attention`: one kernel, which need not store the $N \times M$ weights. What it computes is the lines above.
#
# ## What the scale is for
#
# Why divide by $\sqrt{d}$? A dot product of two vectors with $d$ independent numbers of variance 1 is a sum of $d$ products, each of variance 1: its variance is
# $d$. Wider heads would ask with longer queries, for no other reason than their width.
#
# ::predict answer="{=spread[64]:.1f}|8"
#     q and k hold 64 numbers each, drawn with mean 0 and standard deviation 1. What is the standard deviation of their dot product?
#
#     ---
#     The square root of 64. You saw what a query eight times as long does: it no longer mixes, it chooses.
#
# Choosing is a legitimate thing to learn. It is a bad way to begin, because of the gradient. The derivative of softmax is
# $\partial w_i / \partial s_j = w_i (\delta_{ij} - w_j)$; when one weight is near 1 and the others near 0, every entry is near 0. The query
# has chosen, and cannot learn that it chose badly. How bad is it? Take 16 keys, random numbers everywhere, and send a random gradient
# back into the weights:

# %%
def saturation(d, scale):
    """Spread of the scores, largest weight, gradient that reaches them."""
    torch.manual_seed(0)
    q, k = torch.randn(256, 16, d), torch.randn(256, 16, d)
    scores = einsum(q, k, "b i d, b j d -> b i j") * scale
    scores.requires_grad_()
    weights = scores.softmax(dim=-1)
    weights.backward(torch.randn(weights.shape))
    reached = scores.grad.norm(dim=-1)           # one number a query
    return scores.std().item(), weights.amax(-1).mean().item(), reached


from lessons.book.diagrams import Table, show

widths = [4, 16, 64, 256, 1024]
raw = {d: saturation(d, 1) for d in widths}
scaled = {d: saturation(d, d**-0.5) for d in widths}
spread = {d: raw[d][0] for d in widths}
show(Table(
    ["d", "scale", "spread of scores", "largest weight", "median gradient"],
    [[str(d), name, f"{s:.1f}", f"{top:.2f}", f"{g.median():.0e}"]
     for d in (16, 64, 1024)
     for name, (s, top, g) in (("none", raw[d]), ("1/√d", scaled[d]))]))
weaker = (scaled[64][2].median() / raw[64][2].median()).item()
hopeless = (scaled[1024][2].median() / raw[1024][2].median()).item()

# %% alt="Two curves over the width d from 4 to 1024, both axes logarithmic. With the scale the median gradient is flat. Without it the curve falls ever more steeply, by more than four powers of ten; a shaded band shows that the unluckier queries lie lower still." caption="Median over all queries; the band covers the middle half of them."
import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(6.2, 3), layout="constrained")
for name, runs in (("with 1/√d", scaled), ("without", raw)):
    low, middle, high = (
        [runs[d][2].quantile(part).item() for d in widths]
        for part in (0.25, 0.5, 0.75))
    axis.plot(widths, middle, marker="o", label=name)
    axis.fill_between(widths, low, high, alpha=0.2)
axis.set_xscale("log", base=2)
axis.set_yscale("log")
axis.set_ylim(1e-8, 3)
axis.set_xticks(widths, [str(d) for d in widths])
axis.set_xlabel("d, the width of a query")
axis.set_ylabel("gradient of the scores")
axis.legend(loc="lower left")
plt.show()

# %% [markdown]
# At $d = 64$, the width in most models of this book, the typical query would get {=weaker:.0f} times less gradient without the scale; at
# $d = 1024$ it would get about {=round(hopeless, -3):,.0f} times less, which is none. Divided by $\sqrt{d}$ the scores have spread 1 at any width.
# This is a statement about the *beginning* of training: later the network is free to make its queries as long as it likes.
#
# ## Where q, k and v come from
#
# In self-attention all three come from the same tokens $x \in \mathbb{R}^{N \times D}$, by three learned matrices. Then $d = D / h$: the
# width is cut into $h$ *heads*, each asks its own question, and their answers are put side by side again:
#
# $$
# Q = x W_Q,\quad K = x W_K,\quad V = x W_V \qquad W_Q, W_K, W_V, W_O \in \mathbb{R}^{D \times D}
# $$
#
# $$
# \operatorname{out}(x) = \bigl[\operatorname{attention}(Q_1, K_1, V_1); \dots; \operatorname{attention}(Q_h, K_h, V_h)\bigr]\, W_O
# $$

# %% fold="Drawing code"
from lessons.book.diagrams import Drawing

drawing = Drawing(
    640, 150, "Tokens x of width D become q, k and v; each is cut into heads "
    "of width d; attention runs in each head alone; the answers are put side "
    "by side and mixed by one more matrix")
x_box = drawing.box(8, 50, 84, 44, "x", "(B, N, D)")
qkv_box = drawing.box(140, 50, 104, 44, "q, k, v", "(B, N, 3D)", tone="blue")
out_box = drawing.box(548, 50, 84, 44, "out", "(B, N, D)")
drawing.arrow(x_box, qkv_box, "qkv")
for row, tone in enumerate(("rust", "green", "plum")):
    head = drawing.box(316, 4 + 50 * row, 150, 40, f"head {row}",
                       "(B, N, d)", tone=tone)
    drawing.arrow((244, 72), (316, 24 + 50 * row))
    drawing.arrow((466, 24 + 50 * row), (548, 72))
drawing.text(514, 20, "out_proj", size=11)
show(drawing)

# %% [markdown]
# Why several heads? One softmax gives one mixture. A token that needs two things, what is named here *and* what colour it has, gets the
# mean of both from one head, and both side by side from two. Our `Attention` makes q, k and v with one matrix and cuts with one string:
#
# ::source minimodels.blocks.Attention.split_heads nodoc
#
# ::source minimodels.blocks.Attention.forward nodoc
#
# Read the string from the right: `(three heads d)` says that the $3D$ numbers are first all of q, then k, then v; within each, head 0 has
# the first $d$ numbers, head 1 the next. Merging must undo exactly that, `(heads d)`. The other order, `(d heads)`, has the same shape and is
# another function:

# %%
cut = torch.arange(6).view(1, 1, 6)        # one token, D = 6
heads = rearrange(cut, "b n (heads d) -> b heads n d", heads=2)
right = rearrange(heads, "b heads n d -> b n (heads d)")
wrong = rearrange(heads, "b heads n d -> b n (d heads)")
print("head 0", heads[0, 0, 0].tolist(), "  head 1", heads[0, 1, 0].tolist())
print("merged (heads d)", right.flatten().tolist())
print("merged (d heads)", wrong.flatten().tolist(), "<- same shape")

# %% [markdown]
# A network trained from scratch would not mind: it would learn its matrices in the other order. Official weights mind very much.
#
# ## Not looking ahead
#
# A text tower reads from left to right: what stands at place $i$ may depend on places $0$ to $i$ only. So the scores of later keys are
# set to $-\infty$ *before* the softmax; $e^{-\infty} = 0$, and each row still sums to one. The whole thing in the open, for a debugger:
#
# ::source minimodels.blocks.Attention.weights nodoc
#
# ::predict
#     Somebody masks *after* the softmax: weights of later tokens are set to 0. No token sees the future now. What is still wrong?
#
#     ---
#     The rows no longer sum to one: token 0 keeps only the share that it happened to give itself. And the future leaks through the
#     softmax's denominator: a later token with a large score makes everybody else's weights smaller. The cell below measures it.

# %%
from minimodels.blocks import Attention

torch.manual_seed(0)
layer = Attention(64, num_heads=4, causal=True).double().eval()
free = Attention(64, num_heads=4).double().eval()
free.load_state_dict(layer.state_dict())       # the same, without a mask
x = torch.randn(1, 8, 64, dtype=torch.float64)
other = x.clone()
other[:, -1] = 3 * torch.randn(64, dtype=torch.float64)   # another last token


def masked_late(x):
    """The mistake: the mask after the softmax."""
    _, _, v = free.split_heads(x)
    weights = free.weights(x).tril()
    mixed = einsum(weights, v, "b h i j, b h j d -> b h i d")
    return free.out_proj(rearrange(mixed, "b h n d -> b n (h d)"))


with torch.no_grad():
    sums = free.weights(x).tril().sum(dim=-1)[0].mean(0).tolist()
    for name, function in [("no mask", free), ("causal", layer),
                           ("masked too late", masked_late)]:
        change = (function(x) - function(other))[:, :-1].abs().max().item()
        print(f"{name:16} the first 7 answers move by {change:.3f}")
print("row sums when masked too late:", *(f"{s:.2f}" for s in sums))

# %% [markdown]
# Now look at a trained one: the text tower of `tiny-clip` ([[3.2]]) reads a caption; here is its last block. Row: who asks. Column: who
# is looked at. The upper right half is empty, the tower is causal.

# %% alt="Two triangular heat maps of 13 by 13 tokens of the caption 'a small red car left of a dog, on grass', one for each head. Each head has a few bright columns, and the two heads have different ones." caption="Each row sums to one. The last row is the end-of-text token, which gives the caption's embedding."
import minimodels

clip = minimodels.load("tiny-clip")
ids = clip.tokenize(["a small red car left of a dog, on grass"])
count = int(ids[0].argmax()) + 1                  # up to the end of text
words = ["start", "a", "small", "red", "car", "left", "of", "a", "dog",
         "comma", "on", "grass", "end"]
tower = clip.text_tower
with torch.no_grad():
    stream = tower.token_embedding(ids[:, :count]) + tower.pos[:count]
    for block in tower.blocks:
        maps = block.attn.weights(block.norm1(stream))[0]   # (heads, N, N)
        stream = block(stream)

figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.5), layout="constrained")
for number, (axis, weights) in enumerate(zip(axes, maps)):
    axis.imshow(weights, vmin=0, vmax=1)
    axis.set_title(f"head {number}", fontsize=10)
    axis.set_xticks(range(count), words, rotation=90, fontsize=8)
    axis.set_yticks(range(count), words, fontsize=8)
plt.show()

# %%
for number, row in enumerate(maps[:, -1]):
    best = row.topk(3)
    said = [f"{words[place]} {row[place]:.0%}" for place in best.indices]
    print(f"'end' takes in head {number}:", ", ".join(said))

# %% [markdown]
# Two heads, two questions: that is what heads are for. A caption of your own may show another pattern, and a weight tells where a
# head took something from, not what it did with it.
#
# ## Equal to PyTorch's own
#
# `nn.MultiheadAttention` has the same two matrices under other names. Give it ours, and compare the outputs and the gradients of the input,
# in float64:

# %%
from torch import nn


def largest_gaps(causal):
    """Ours against nn.MultiheadAttention: output and input gradient."""
    ours = Attention(64, num_heads=4, causal=causal).double()
    theirs = nn.MultiheadAttention(64, 4, batch_first=True).double()
    theirs.load_state_dict({
        "in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias,
        "out_proj.weight": ours.out_proj.weight,
        "out_proj.bias": ours.out_proj.bias})
    hidden = ~torch.ones(9, 9, dtype=torch.bool).tril() if causal else None
    mine = torch.randn(3, 9, 64).double().requires_grad_()
    yours = mine.detach().clone().requires_grad_()
    out, (wanted, _) = ours(mine), theirs(yours, yours, yours,
                                          attn_mask=hidden)
    direction = torch.randn_like(out)
    out.backward(direction)
    wanted.backward(direction)
    return [(a - b).abs().max().item() for a, b in
            ((out, wanted), (mine.grad, yours.grad))]


torch.manual_seed(0)
for causal in (False, True):
    output, gradient = largest_gaps(causal)
    print(f"causal={causal!s:5}  output {output:.0e}",
          f" gradient {gradient:.0e}")

# %% [markdown]
# One trap is in that cell: their boolean mask is True where a key is *hidden*. In `F.scaled_dot_product_attention` and in our `Attention`
# it is True where a key is *seen*.
#
# ## What attention does not know
#
# Nothing in the equation depends on where a token stands. Reorder the tokens, and the answers are the same, reordered. Order has to be
# written into the tokens: that is what position embeddings are for ([[2.3]]).

# %%
order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    moved = (free(x[:, order]) - free(x)[:, order]).abs().max().item()
print(f"reorder, then attend; attend, then reorder: differ by {moved:.0e}")

# %% [markdown]
# It is also all to all: $N$ queries times $M$ keys. Twice the tokens cost four times the scores. [[2.2]] counts it.
#
# ::quiz
#     Softmax is taken with `dim=-2` instead of `dim=-1`. What do you see?
#
#     - [ ] An error about shapes :: No. The scores of N tokens with themselves are square, any axis will do.
#     - [x] Columns that sum to one, rows that do not :: Each key now shares itself out among the queries; nothing complains.
#     - [ ] The same result, transposed :: Softmax over the other axis divides by other sums; it is another function.
#
# ## Write it yourself
#
# Six small functions, each held against PyTorch; the last one starts from broken code.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | shapes right, rows of the weights do not sum to one | softmax over the queries, or a mask after the softmax |
# | fine at first, wide heads do not learn | no scale, or the scale after the softmax |
# | nearly right with official weights | scale by $\sqrt{D}$ where $\sqrt{d}$ is meant: divide by the width of a *head* |
# | nonsense with official weights | heads merged as `(d heads)`, or q, k, v cut as `(heads d three)` |
# | `nan` in a row | every key of that row is masked: softmax of $-\infty$ alone is 0/0 |
# | everything is masked that should be seen | the other meaning of True in a boolean mask |
#
# ## The paper, and the same lines in the libraries
#
# Section 3.2.1 has equation 1 and, in its footnote 4, the argument about the variance; section 3.2.2 has the heads; section 3.2.3 the mask
# ("setting to $-\infty$"). The paper's matrices have no biases; the released models of this book do have them.
#
# In **PyTorch**, `nn.MultiheadAttention` keeps q, k, v as one `in_proj_weight`, rows in the same order as ours. In **timm**,
# `timm.layers.Attention` reshapes `qkv` to `(B, N, 3, heads, head_dim)` and permutes: the same string, by position. In **transformers** q, k
# and v are three linear layers (`q_proj`, `k_proj`, `v_proj`; in ViT and BERT `query`, `key`, `value`), so their weights have to be stacked
# to become ours ([[2.4]]).
