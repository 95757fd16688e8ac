"""The block: look around, think, and add

Attention moves things between tokens; something has to work on them, and the two have to be stacked a dozen times without the signal
dying on the way. What holds such a tower together? You measure what happens when each part is left out, meet three functions that all
call themselves GELU, and count where the work is done.

nav: The block
minutes: 20
needs: 2.1
paper: [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.1; [Xiong et al. 2020](https://arxiv.org/abs/2002.04745)
code: minimodels/blocks.py
"""

# %% [markdown]
# ## Two steps, both added
#
# A block changes the tokens $x \in \mathbb{R}^{N \times D}$ twice. First each token looks around (attention, [[2.1]]), then each token
# thinks for itself (the MLP). Neither *replaces* the token; each *adds* something to it (Dosovitskiy et al. 2021, equations 2 and 3):
#
# $$
# y = x + \operatorname{attention}(\operatorname{LN}_1(x)) \qquad z = y + \operatorname{MLP}(\operatorname{LN}_2(y))
# \qquad x, y, z \in \mathbb{R}^{N \times D}
# $$
#
# ::source minimodels.blocks.Block.forward nodoc
#
# The code calls all three `x`: the line $x \to y \to z$ that runs through all blocks is called the *residual stream*: every part reads from it and adds to it, and
# nothing overwrites it. The MLP is two linear layers with a bend between them, $\operatorname{MLP}(x) = W_2\, g(W_1 x + b_1) + b_2$, with a
# hidden width of mostly $4D$; the same for each token, so it moves nothing between them:
#
# ::source minimodels.blocks.MLP.forward nodoc
#
# The original Transformer normalised *after* the sum, on the stream itself. That is the post-norm block, still found in BERT:
#
# ::source minimodels.blocks.PostNormBlock.forward nodoc

# %% fold="Drawing code"
from lessons.book.diagrams import Drawing, Table, show

drawing = Drawing(
    640, 176, "Above, the pre-norm block: the stream runs straight through, "
    "norm and attention, norm and MLP stand on side branches that are added. "
    "Below, the post-norm block: a norm stands on the stream after each sum")
for y, name, pre in ((30, "pre-norm", True), (118, "post-norm", False)):
    drawing.text(4, y, name, anchor="start")
    at = 90
    stops = [90, 632] if pre else [90, 290, 326, 552, 588, 632]
    for left, right in zip(stops[::2], stops[1::2]):
        drawing.arrow((left, y), (right, y))
    for part, tone in (("attention", "blue"), ("MLP", "rust")):
        words = f"LN, {part}" if pre else part
        branch = drawing.box(at + 40, y + 22, 116, 28, words, tone=tone)
        drawing.arrow((at + 22, y), (at + 40, y + 36))
        drawing.arrow((at + 156, y + 36), (at + 182, y + 3))
        drawing.text(at + 184, y - 12, "+")
        if not pre:
            drawing.box(at + 200, y - 13, 36, 26, "LN", tone="gold")
        at += 262
show(drawing)

# %% [markdown]
# ## What happens without it
#
# Build four towers of 24 blocks at their random start, with the initialisation of the original paper (Xavier: it keeps the variance in each
# linear layer). Send random tokens up and a random gradient down, and look how much of it arrives at each depth:
#
# 1. **neither**: attention and MLP one after the other, no sum and no norm;
# 2. **sums only**: the residual stream without any norm;
# 3. **post-norm**, as above;
# 4. **pre-norm**, as above, with one more norm at its end.
#
# ::predict
#     The same random gradient, of norm {=start:.0f}, is sent into each tower's answer. With what norm does it arrive at the bottom? One guess
#     for each of the four: far too small, about right, or far too large.
#
#     ---
#     Neither: {=bottom["neither"]:.0e}, nothing left to learn from. Sums only: {=bottom["sums only"]:.0e}, an explosion. Post-norm:
#     {=bottom["post-norm"]:.0f}, and pre-norm: {=bottom["pre-norm"]:.0f}. Other random numbers give other digits, and the same story.

# %%
import torch
import torch.nn.functional as F
from torch import nn

from minimodels.blocks import Block, PostNormBlock, QuickGELU


class Neither(Block):
    def forward(self, x, mask=None):
        return self.mlp(self.attn(x, mask))


class SumsOnly(Block):
    def forward(self, x, mask=None):
        x = x + self.attn(x, mask)
        return x + self.mlp(x)


def tower(kind, depth):
    """`depth` blocks at a random start, Xavier weights, biases 0."""
    torch.manual_seed(0)
    blocks = [kind(64, 4, 256) for _ in range(depth)]
    for module in (m for block in blocks for m in block.modules()):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return blocks


def travel(kind, depth=24):
    """Gradient norms and spread of the stream at each depth; last MLP's."""
    blocks = tower(kind, depth)
    stream = [torch.randn(4, 16, 64).requires_grad_()]
    for block in blocks:
        stream.append(block(stream[-1]))
        stream[-1].retain_grad()
    top = stream[-1]
    if kind is Block:                      # pre-norm ends with one more norm
        top = F.layer_norm(top, (64,))
    (top * torch.randn(top.shape)).sum().backward()
    last = [p.grad.norm() for p in blocks[-1].mlp.parameters()]
    return ([x.grad.norm().item() for x in stream],
            [x.std().item() for x in stream], torch.stack(last).norm().item())


kinds = {"neither": Neither, "sums only": SumsOnly,
         "post-norm": PostNormBlock, "pre-norm": Block}
trips = {name: travel(kind) for name, kind in kinds.items()}
bottom = {name: trip[0][0] for name, trip in trips.items()}
start = trips["neither"][0][24]
show(Table(["tower", "gradient at the top", "in the middle",
            "at the bottom"], [
    [name, *(f"{trip[0][depth]:.0e}" for depth in (24, 12, 0))]
    for name, trip in trips.items()]))

# %% alt="Gradient norm over the depth of the stream, logarithmic. The tower with neither sum nor norm falls in a straight line by fourteen powers of ten towards the bottom, the one with sums only rises by seven. Post-norm and pre-norm stay nearly level, close to each other." caption="Read from right to left: the gradient starts at the top of the tower (24) and travels down."
import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(6.2, 3), layout="constrained")
for name, (gradients, _, _) in trips.items():
    axis.plot(gradients, label=name)
axis.set_yscale("log")
axis.set_xlabel("depth of the stream "
                "(0: the tokens, 24: after the last block)")
axis.set_ylabel("norm of the gradient")
axis.legend()
plt.show()

# %% [markdown]
# The sum gives the gradient a way down that no matrix stands on: $\partial z / \partial x = I + \dots$, so it does not die out when the branches pass little on. The norm keeps
# what is added from growing with the stream: without it each block adds in proportion to what it reads, and that is compound interest.
#
# ## Pre or post?
#
# In the figure both look fine. The difference shows when towers get deeper, in the gradient of the *last* block's weights:

# %%
depths = (6, 12, 24, 48)
deep = {name: {depth: travel(kinds[name], depth) for depth in depths}
        for name in ("post-norm", "pre-norm")}
show(Table(["", *(f"{depth} blocks" for depth in depths)], [
    [f"{name}: last MLP's gradient",
     *(f"{deep[name][d][2]:.0f}" for d in depths)] for name in deep
] + [["pre-norm: spread of the stream",
      *(f"{deep['pre-norm'][d][1][-1]:.1f}" for d in depths)]]))
shrinks = deep["pre-norm"][6][2] / deep["pre-norm"][48][2]

# %% [markdown]
# The pre-norm stream grows, because every block adds to it and nothing takes away. The last norm divides by that spread, and
# the gradients with it: from 6 to 48 blocks they shrink by a factor of {=shrinks:.1f} ($\sqrt{8} \approx 2.8$ is what Xiong et al. 2020,
# theorem 1, lead one to expect). With post-norm they stay as large as ever, however deep the tower, so the first large steps do damage. That
# is why the original Transformer needs a learning rate that is warmed up carefully, and why nearly everything after BERT is pre-norm.
# Post-norm is not wrong: BERT is post-norm, and where BERT's weights are wanted the block has to be, too.
#
# ::quiz
#     Why does a pre-norm tower end with one more LayerNorm, and a post-norm tower does not?
#
#     - [ ] To make both have the same number of parameters :: That would be a coincidence, not a reason.
#     - [x] The pre-norm stream was never normalised; its size depends on the depth :: A head behind it should not have to know the depth. A
#       post-norm block ends with a norm anyway.
#     - [ ] Softmax needs normalised inputs :: It takes any real numbers.
#
# ## LayerNorm, and its eps
#
# LayerNorm looks at one token at a time: subtract the mean $\mu$ of its $D$ numbers, divide by their spread, then scale and shift by learned
# numbers $\gamma, \beta \in \mathbb{R}^D$:
#
# $$
# \operatorname{LN}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \cdot \gamma + \beta
# \qquad \mu = \frac1D \sum_i x_i,\quad \sigma^2 = \frac1D \sum_i (x_i - \mu)^2
# $$
#
# The $\epsilon$ is there so that a constant token does not divide by zero. Libraries disagree about it: 1e-6 in timm's ViT, 1e-12 in
# transformers' ViT and BERT, 1e-5 in CLIP and as PyTorch's default. Does it matter?

# %%
def layer_norm(x, eps):
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)   # not n - 1
    return (x - mean) / (variance + eps).sqrt()


torch.manual_seed(0)
x = torch.randn(8, 64, dtype=torch.float64)
same = (layer_norm(x, 1e-6) - F.layer_norm(x, (64,), eps=1e-6)).abs().max()
print(f"ours against F.layer_norm: {same:.0e}")
differs = {s: (layer_norm(s * x, 1e-5) - layer_norm(s * x, 1e-12)).abs().max()
           for s in (1, 0.1, 0.01, 0.001)}
show(Table(["spread of the token", "1e-5 against 1e-12"],
           [[str(s), f"{gap:.0e}"] for s, gap in differs.items()]))

# %% [markdown]
# For a token of spread 1 the wrong eps moves the answer by {=differs[1]:.0e}: no eye and no test at `atol=1e-4` sees it. For a token of
# spread 0.001, such as a small embedding at the start of training, it changes the answer by {=differs[0.001]:.1f}. Use the eps that the weights
# were trained with.
#
# ## Three functions called GELU
#
# The bend in the MLP is a smooth ReLU: $\operatorname{GELU}(x) = x\, \Phi(x)$, with $\Phi$ the probability that a standard normal number is below
# $x$. Two approximations are about:
#
# $$
# \operatorname{TanhGELU}(x) = \tfrac{x}{2} \Bigl(1 + \tanh\bigl(\sqrt{2/\pi}\,(x + 0.044715\, x^3)\bigr)\Bigr)
# \qquad
# \operatorname{QuickGELU}(x) = x\, \sigma(1.702\, x)
# $$

# %% alt="Left: exact, tanh and Quick GELU over inputs from -5 to 5; the three curves can hardly be told apart. Right: the difference to the exact one; QuickGELU's has waves of about 0.02 on both sides of zero, tanh's is flat at this scale." caption="Left the functions, right what they differ by from the exact one."
t = torch.linspace(-5, 5, 4001, dtype=torch.float64)
gelus = {"exact": F.gelu(t), "tanh": F.gelu(t, approximate="tanh"),
         "Quick": QuickGELU()(t)}
off = {name: (y - gelus["exact"]).abs().max().item()
       for name, y in gelus.items()}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8), layout="constrained")
for name, y in gelus.items():
    axes[0].plot(t, y, label=name)
    axes[1].plot(t, y - gelus["exact"], label=name)
axes[0].set_title("the functions", fontsize=10)
axes[1].set_title("minus the exact one", fontsize=10)
axes[0].legend()
plt.show()

# %% [markdown]
# The tanh form is off by at most {=off["tanh"]:.0e}, QuickGELU by {=off["Quick"]:.2f}. But a tower applies it in every block, and each block reads
# what the one before got wrong. Take a tower of 12 pre-norm blocks with the exact GELU, exchange the activation, change nothing else, and
# measure how far the normalised output moves (its numbers have spread 1):

# %%
@torch.no_grad()
def answer(activation, depth):
    blocks = tower(Block, depth)
    torch.manual_seed(1)
    x = torch.randn(4, 16, 64)
    for block in blocks:
        block.mlp.activation = activation
        x = block(x)
    return F.layer_norm(x, (64,))


def moved(activation, depth):
    change = answer(activation, depth) - answer(nn.GELU(), depth)
    return change.abs().max().item()


swaps = {"tanh": nn.GELU(approximate="tanh"), "Quick": QuickGELU()}
show(Table(["instead of the exact one", "1 block", "12 blocks"], [
    [name, f"{moved(a, 1):.0e}", f"{moved(a, 12):.0e}"]
    for name, a in swaps.items()]))
tanh_moves = moved(swaps["tanh"], 12)

# %% [markdown]
# A test that allows 1e-3, as many do, would sleep through the tanh form ({=tanh_moves:.0e} here). This is why the parity tests of this
# book compare in float64 at 1e-10, and after redrawing every weight.
#
# ## Where the numbers are, and where the work
#
# A block with MLP width $4D$ has two norms ($2D$ each), q, k, v ($3D^2 + 3D$), the output projection ($D^2 + D$) and the MLP ($8D^2 + 5D$):
# together $12 D^2 + 13 D$ parameters, whatever the number of heads. Each weight of a matrix multiplies each token once: $12 N D^2$
# multiply-adds. On top come the scores and the mixing, $2 N^2 D$, which no weight knows of. PyTorch can count along (it counts a
# multiply-add as two operations):
#
# ::predict answer="{=share(197) * 100:.1f}|{=share(197) * 100:.0f}"
#     ViT-B/16 has D = 768 and N = 197 tokens. What share of a block's multiply-adds are the N x N parts of attention? (In percent.)
#
#     ---
#     $2N^2D / (12ND^2 + 2N^2D) = N / (6D + N)$, here {=share(197):.1%}. At this size the famous quadratic cost is small change; the MLP does most of the work.

# %%
from torch.utils.flop_counter import FlopCounterMode


def share(tokens, width=768):
    """The part of a block's multiply-adds that grows with N squared."""
    return tokens / (6 * width + tokens)


base = Block(768, 12, 3072)
parameters = sum(p.numel() for p in base.parameters())
formula = 12 * 768**2 + 13 * 768
with torch.no_grad(), FlopCounterMode(display=False) as counter:
    base(torch.zeros(1, 197, 768))
multiply_adds = counter.get_total_flops() // 2
print(f"parameters    {parameters:12,}   formula {formula:12,}")
print(f"multiply-adds {multiply_adds:12,}   formula "
      f"{12 * 197 * 768**2 + 2 * 197**2 * 768:12,}")
show(Table(["picture", "tokens", "N x N share"], [
    [f"{side} x {side}, patches of 16", f"{(side // 16)**2 + 1:,}",
     f"{share((side // 16)**2 + 1):.0%}"] for side in (224, 512, 1024)]))

# %% [markdown]
# At 1024 x 1024 pixels, where SAM works, the quadratic part is no longer small; that is why SAM's encoder attends within windows in
# most of its blocks.
#
# ## Equal to PyTorch's own
#
# `nn.TransformerEncoderLayer` is both blocks: `norm_first=True` is pre-norm. The same weights under its names, in float64, output and
# gradient of the input. The last line is the same comparison with a planted mistake:

# %%
NAMES = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.":
         "attn.out_proj.", "linear1.": "mlp.fc1.", "linear2.": "mlp.fc2.",
         "norm1.": "norm1.", "norm2.": "norm2."}


def gaps(kind, norm_first, eps=1e-6):
    """Ours against PyTorch's: output, gradient of the input."""
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(
        64, 4, 256, dropout=0.0, activation="gelu", batch_first=True,
        norm_first=norm_first, layer_norm_eps=1e-6).double()
    for parameter in theirs.parameters():      # also biases and gains
        nn.init.normal_(parameter, std=0.2)
    ours = kind(64, 4, 256, norm_eps=eps).double()
    ours.load_state_dict({mine + name.removeprefix(prefix): tensor
                          for name, tensor in theirs.state_dict().items()
                          for prefix, mine in NAMES.items()
                          if name.startswith(prefix)})
    a = torch.randn(3, 9, 64).double().requires_grad_()
    b = a.detach().clone().requires_grad_()
    out, wanted = ours(a), theirs(b)
    direction = torch.randn_like(out)
    out.backward(direction)
    wanted.backward(direction)
    return [f"{(p - q).abs().max().item():.0e}"
            for p, q in ((out, wanted), (a.grad, b.grad))]


show(Table(["block", "output", "gradient"], [
    ["pre-norm", *gaps(Block, True)],
    ["post-norm", *gaps(PostNormBlock, False)],
    ["pre-norm, eps 1e-5 by mistake", *gaps(Block, True, 1e-5)]]))

# %% [markdown]
# A zero means that not one digit differs: both end in the same kernels. Elsewhere it may be round-off.
#
# ## Write it yourself
#
# Norm, activation, MLP, then the block; a broken one to repair; and the formula for the parameters.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | the first steps of training diverge, later with a small rate it works | post-norm without warm-up |
# | the loss stays where it is in a deep tower | a residual sum is missing |
# | the activations grow from block to block until `inf` | no norm inside the branches |
# | official weights nearly right, at the third digit | tanh GELU or QuickGELU for the exact one |
# | official weights right on most pictures, off on dark or empty ones | another LayerNorm eps: it bites where tokens are flat |
# | official weights nonsense, shapes right | post-norm weights in a pre-norm block, or `norm1` and `norm2` exchanged |
# | the answer changes from run to run | dropout is on: `model.eval()` |
#
# ## The paper, and the same lines in the libraries
#
# Vaswani et al. 2017 describe the post-norm block in section 3.1, the MLP in 3.3 (with ReLU, $D = 512$ and $4D = 2048$). Dosovitskiy et al. 2021
# write the pre-norm block as equations 2 and 3. Xiong et al. 2020 compare the two; Hendrycks and Gimpel 2016 have GELU and both approximations.
#
# In **PyTorch** it is `nn.TransformerEncoderLayer`; mind that its defaults are post-norm, ReLU, dropout 0.1 and eps 1e-5: each one differs
# from a ViT's. In **timm** it is `timm.models.vision_transformer.Block`, whose forward has the two lines of ours with two more parts inside
# (`ls1`, `drop_path1`: layer scale and stochastic depth, which do nothing unless asked for). In **transformers** ViT's block is `ViTLayer`, with
# `layernorm_before` and `layernorm_after`: the second one stands before the MLP, not after it. `QuickGELUActivation` is there under the name
# `quick_gelu`, and a checkpoint's configuration says which one it wants.
