"""Official weights: loading them, and proving it

Your ViT has the right shapes and runs. An official checkpoint has other names, other shapes and was made for other
code. How do its numbers get into your model, and how do you know that the result is *the same model* and not one that
looks like it?

nav: Official weights
minutes: 20
needs: 2.3
code: checkpoints_convert/tables/vit.py, tables.py, verify.py
"""

# %% [markdown]
# ## What is in an official file
#
# A checkpoint is a dictionary: names and tensors, nothing else. To stay offline we let the transformers library make
# one on the spot: a small ViT with random numbers, saved just as the files on the Hugging Face hub are saved. All that
# follows works the same with `google/vit-base-patch16-224`.

# %%
import tempfile
from pathlib import Path

import torch
from transformers import ViTConfig, ViTForImageClassification
from transformers.utils import logging as their_logging

from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.reading.files import read_tensors

their_logging.disable_progress_bar()
config = ViTConfig(
    image_size=(32, 48),
    patch_size=8,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=96,
    num_labels=5,
    attn_implementation="sdpa",
)
torch.manual_seed(0)
reference = redraw_all(ViTForImageClassification(config))
kept = tempfile.TemporaryDirectory()  # gone when the script ends
folder = Path(kept.name)
reference.save_pretrained(folder)

official = read_tensors(folder)
for name in sorted(official):
    if "layer.1" not in name and "layer.2" not in name:
        print(f"{name:56}{tuple(official[name].shape)}")

# %% [markdown]
# ::predict answer="{=len(ours.state_dict())}"
#     The file has {=len(official)} tensors: 8 outside of the blocks and 16 in each of the 3 blocks. Our `ViT` makes q,
#     k and v with one matrix. How many tensors does our model have for the same numbers?
#
#     ---
#     In each block six tensors (weight and bias of query, key and value) become two, so 12 a block and 8 outside.
#
# ## Four kinds of difference
#
# Every number of the file has a place in our model. To get it there, one of four things happens, and none of them
# computes anything:
#
# | what happens | why | example |
# |---|---|---|
# | **rename** | two people, two names | `layernorm_before` is our `norm1` |
# | **stack** | three matrices side by side are one larger matrix | query, key, value are our `attn.qkv` |
# | **flatten** | their patch layer is a convolution, ours a linear layer | a kernel (3, P, P) is a row of 3 P P numbers |
# | **unwrap** | they keep a batch dimension of one | `cls_token` (1, 1, D) is our `class_token` (D) |
#
# Why is stacking right? Let $W_q, W_k, W_v \in \mathbb{R}^{D \times D}$ act on a token $x$. Written below each other
# they are one matrix
#
# $$
# \begin{pmatrix} q \\ k \\ v \end{pmatrix} = \begin{pmatrix} W_q \\ W_k \\ W_v \end{pmatrix} x,
# \qquad W_{qkv} \in \mathbb{R}^{3D \times D}
# $$
#
# PyTorch keeps a linear layer's weight as (out, in), so "below each other" is the first axis. Numbers written by hand
# show whether an operation does what it says:

# %%
from checkpoints_convert.tables.rules import FLATTEN_KERNEL, STACK_ROWS

q, k, v = (torch.full((2, 2), number) for number in (1, 2, 3))
print("stacked:", STACK_ROWS.forward([q, k, v]).tolist())

kernel = torch.arange(12).reshape(1, 3, 2, 2)  # 1 output, 3 colours, 2 x 2
print("kernel:", kernel[0].tolist())
print("as a row:", FLATTEN_KERNEL.forward([kernel])[0].tolist())

# %% [markdown]
# Flattening is only right if the patches were flattened in the same order: first all of red, row by row, then green,
# then blue, which is `(c ph pw)` in [[2.3]]. Then a convolution whose stride is its own width and our linear layer are
# the same sum:

# %%
from minimodels.blocks import split_patches

image = torch.randn(2, 3, 32, 48, dtype=torch.float64)
weight = torch.randn(7, 3, 8, 8, dtype=torch.float64)
as_convolution = torch.nn.functional.conv2d(image, weight, stride=8)
as_linear = split_patches(image, 8) @ weight.flatten(1).T
gap = (as_convolution.flatten(2).mT - as_linear).abs().max().item()
print(f"largest difference: {gap:.0e}")

# %% [markdown]
# ## The table
#
# All of it is written down in one table a library: their name, our name, what happens. `{i}` counts,
# `{query,key,value}` are three tensors that become one.
#
# ::source checkpoints_convert.tables.vit.transformers_rows nodoc
#
# ::source checkpoints_convert.tables.vit.ON_THE_HUB
#
# A model written with the reference in mind makes this table dull. The one for timm, whose blocks are built like ours,
# hardly does anything:
#
# ::source checkpoints_convert.tables.vit.TIMM fold="timm's table: three operations, the rest is spelling"
#
# Sizes are not in the table. They are read off the tensors: how many rows `pos` has, how many `blocks.{i}` there are.
# Only what shapes cannot tell has to come from the config beside the weights: the number of heads (48 columns are one
# head of 48, or three of 16), the activation, the epsilon of LayerNorm. Every key of that config that changes an answer
# is read, or refused by name where our model has no such thing. Without a config, a warning says what is assumed, and
# only for widths on which all released models agree (a tower 1280 wide has 16 heads of 80, not 20 of 64); of any other
# you are asked. Official ViTs are square; ours is not, on purpose (a square hides exchanged axes), and since 24 places
# may be 4 x 6 or 3 x 8, we say which.

# %%
import checkpoints_convert

ours = checkpoints_convert.load(folder, image_size=(32, 48))
print(ours.about["class"], "from", ours.about["format"], "names")
for key, value in ours.about["arguments"].items():
    print(f"   {key} = {value}")
print(len(official), "tensors there,", len(ours.state_dict()), "here")

# %% [markdown]
# Nothing is left over on either side. A name in the file that no row knows, or a tensor of ours that no row fills,
# would have stopped the load; we will make that happen below.
#
# ## The proof
#
# That it loads proves that the *shapes* fit. Query and key have the same shape, and so have `norm1` and `norm2`:
# exchange them and everything still loads. So both models compute the same batch, in float64, and everything is
# compared: each block's output, the logits, and the gradients of the input and of every parameter.

# %%
from checkpoints_convert import SYSTEMS
from checkpoints_convert.proof.verify import compare

table = SYSTEMS["vit"].formats["transformers_v5"].table
pairs = [
    ("blocks.{i}", "vit.layers.{i}"),
    ("norm", "vit.layernorm"),
    ("head", "classifier"),
]
image = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def against_reference(model):
    """The block-by-block table of a model beside transformers' one."""
    return compare(
        model,
        reference,
        {"image": image},
        pairs=pairs,
        run=lambda m, image: {"logits": m(image)},
        run_reference=lambda m, image: {"logits": m(image).logits},
        to_ours=lambda gradients: table.convert(gradients).tensors,
        title="our ViT beside transformers",
    )


proof = against_reference(ours)
print(proof)

# %% [markdown]
# The column `float64` is the largest $\lvert a - b\rvert / (1 + \lvert b\rvert)$ over all numbers of a block, $a$ ours
# and $b$ theirs. A zero means that even the last digit agrees; around 1e-15 is round-off, left when two programs add
# the same numbers in another order. In float32 (shown, not judged) the same two models lie apart by about a billion
# times as much, and are the same models still.
#
# The gradients are the stricter test: two functions may meet in one point and have other slopes there, and a parameter
# that is loaded and never used gives itself away by a gradient of zero.
#
# ## Why a loose test passes wrong models
#
# The usual check is: build both with their default start, run in float32, and ask `torch.allclose(a, b, atol=1e-5)`.
# Let us hold six models with one mistake each against that check, and against ours.
#
# ::predict answer="{=fooled}"
#     Six mistakes: the tanh GELU instead of the exact one; LayerNorm's epsilon 1e-6 instead of 1e-12; epsilon 1e-5;
#     `norm1` and `norm2` exchanged; the bias of the attention's output lost; query and key exchanged. How many of the
#     six pass the usual check?
#
#     ---
#     At the default start each bias is 0 and each gain 1, so exchanged norms and lost biases change nothing *at all*.
#     And the weights are so small that the GELU only meets numbers near 0, where the exact and the tanh curve touch.

# %%
import copy

from torch import nn


def tanh_gelu(model):
    for block in model.blocks:
        block.mlp.activation = nn.GELU(approximate="tanh")


def other_eps(eps):
    def change(model):
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = eps

    return change


def norms_exchanged(model):
    for block in model.blocks:
        block.norm1, block.norm2 = block.norm2, block.norm1


def bias_lost(model):
    for block in model.blocks:
        nn.init.zeros_(block.attn.out_proj.bias)


def query_key_exchanged(model):
    for block in model.blocks:
        for tensor in (block.attn.qkv.weight, block.attn.qkv.bias):
            q, k, v = tensor.data.chunk(3)
            tensor.data = torch.cat([k, q, v])


MISTAKES = {
    "none": lambda model: None,
    "tanh GELU": tanh_gelu,
    "eps 1e-6": other_eps(1e-6),
    "eps 1e-5": other_eps(1e-5),
    "norms exchanged": norms_exchanged,
    "bias lost": bias_lost,
    "query, key exchanged": query_key_exchanged,
}

# %%
torch.manual_seed(0)
fresh = ViTForImageClassification(config).eval()  # the default start


def largest_gap(theirs, mistake, dtype):
    """Largest difference of the logits between theirs and ours."""
    made = checkpoints_convert.build(
        theirs.state_dict(), "vit", num_heads=3, image_size=(32, 48)
    )
    made = copy.deepcopy(made)  # tensors were shared with theirs
    mistake(made)
    with torch.no_grad():
        a = made.to(dtype)(image.to(dtype))
        b = copy.deepcopy(theirs).to(dtype)(image.to(dtype)).logits
    return ((a - b).abs() / (1 + b.abs())).max().item()


rows, fooled = [], 0
for name, mistake in MISTAKES.items():
    usual = largest_gap(fresh, mistake, torch.float32)
    strict = largest_gap(reference, mistake, torch.float64)
    fooled += name != "none" and usual <= 1e-5
    rows.append(
        [
            name,
            f"{usual:.0e} " + ("passes" if usual <= 1e-5 else "caught"),
            f"{strict:.0e} " + ("passes" if strict <= 1e-10 else "caught"),
        ]
    )

# %%
from lessons.book.diagrams import Table, show

show(Table(["mistake", "usual check", "redrawn, float64, 1e-10"], rows))
print(f"the usual check passes {fooled} of {len(MISTAKES) - 1} mistakes")

# %% [markdown]
# Three changes make the difference, and all three are cheap:
#
# 1. **Redraw every parameter** first, biases and gains too (`redraw_all`), so that each of them moves the answer.
# 2. **float64**, so that round-off lies far below any mistake. In float32 a wrong epsilon and rounding look alike.
# 3. **Block by block**, so that a failure says where. Here is the one with exchanged norms:

# %%
wrong = copy.deepcopy(ours)
norms_exchanged(wrong)
report = against_reference(wrong)
first = report.first_wrong
print(
    f"equal: {report.ok}; first wrong: {first.ours}, by {first.float64:.1e}"
)

# %% [markdown]
# An epsilon is the smallest mistake of all, and a real one: timm's ViTs were trained with 1e-6, transformers' config
# says 1e-12, CLIP has 1e-5. It matters where a token's variance is small, for it is added to the variance before the
# root:
#
# $$
# \text{LN}(x) = \frac{x - \operatorname{mean}(x)}{\sqrt{\operatorname{var}(x) + \varepsilon}} \cdot \gamma + \beta
# $$
#
# ## What a wrong table does
#
# Loading must be loud. Three damaged checkpoints, and what our loader says to each:

# %%
import textwrap

from minimodels import UserError


def complain(error):
    """Print what is wrong; a terminal shows it as one line."""
    print(textwrap.fill(str(error), 72, break_long_words=False) + "\n")


def try_to_build(tensors):
    try:
        checkpoints_convert.build(
            tensors, "vit", num_heads=3, image_size=(32, 48)
        )
    except UserError as error:
        complain(error)


tensors = dict(official)
some_key = "vit.encoder.layer.1.attention.attention.key.weight"
try_to_build({k: v for k, v in tensors.items() if k != some_key})
try_to_build({**tensors, "vit.encoder.layer.1.gate": torch.ones(48)})
try_to_build({**tensors, "classifier.bias": torch.full((5,), torch.nan)})

# %% [markdown]
# And here is the quiet way. `load_state_dict(..., strict=False)` skips every name it does not know and says so only in
# a value that nobody has to read:

# %%
from minimodels.vit import ViT

quiet = ViT(**ours.about["arguments"])
answer = quiet.load_state_dict(tensors, strict=False)
filled = len(quiet.state_dict()) - len(answer.missing_keys)
print(f"strict=False: no error, {filled} of {len(quiet.state_dict())} filled")

# %% [markdown]
# ## A checkpoint is a stranger's file
#
# `.pt`, `.pth` and `.bin` files are pickles, and a pickle is a little program: it may name any function and have it
# called while it is read. Here is a checkpoint with one tensor too many:


# %%
class Surprise:
    def __reduce__(self):  # what to call when the file is read
        return print, ("   this line was printed by the file itself",)


path = folder / "surprise.pt"
torch.save({"head.weight": torch.ones(2), "extra": Surprise()}, path)

print("torch.load(weights_only=False):")
torch.load(path, weights_only=False)
print("read_tensors:")
try:
    read_tensors(path)
except UserError as error:
    complain(str(error).replace(str(folder) + "/", ""))

# %% [markdown]
# Ours said `print`; another file says something worse. `read_tensors` runs nothing: it reads the pickle with an
# interpreter of its own that knows tensors, numbers and text, refuses every other name, and checks each size the file
# claims. `.safetensors` files hold no program at all, which is why the hub prefers them.
#
# ## And back again
#
# Each operation has an inverse, so the same table writes. What we export is the model we started from, name by name and
# bit by bit. (The names are those that transformers' model has in memory since version 5; its files keep older ones,
# and its loader takes both.)

# %%
back = checkpoints_convert.export(ours, "transformers")
start = reference.state_dict()
print("same names:", sorted(back) == sorted(start))
print("same bits: ", all(torch.equal(back[n], start[n]) for n in back))

# %% [markdown]
# ## Do it yourself
#
# ```sh
# python -m checkpoints_convert list          # official checkpoints known by name
# python -m checkpoints_convert verify vit    # this page's proof, also for timm
# ```
#
# The exercises stand at the end of the page. Two symptoms that nearly everybody meets:
#
# ??? hint "Symptom: everything loads, and the answers are nonsense"
#     Something of the same shape is exchanged, or an axis is. Compare block by block: if the tokens before the first
#     block differ, it is the flattening or the pictures; if the first block differs, it is q, k, v or the heads.
#
# ??? hint "Symptom: the answers are nearly right"
#     An epsilon, the GELU, or the resizing of the pictures. In float64 with redrawn weights each of them stands out.
#
# ::quiz
#     Your converted model agrees with the reference to 4e-6 in float32. What do you know?
#
#     - [ ] It is the same model: float32 cannot do better :: Float32 rounding is of this size, and so is a wrong
#       epsilon. You cannot tell them apart.
#     - [ ] It is another model: equal ones would agree exactly :: Adding the same numbers in another order changes the
#       last digits.
#     - [x] Not enough: ask again in float64 with redrawn weights :: Rounding falls by a factor of a billion there, and
#       a mistake stays where it is.
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | loads, nonsense | q, k, v stacked in another order, or along the wrong axis |
# | loads, nonsense | kernel flattened as `(ph pw c)` |
# | loads, slightly off everywhere | epsilon, tanh GELU or QuickGELU instead of the exact one |
# | right in the test, wrong in use | another mean and std, or another resizing of the pictures |
# | right at 224, wrong at 384 | positions resized with the other library's rule |
# | half of the weights random | `strict=False` |
#
# ## The same lines in the libraries
#
# In **transformers**, `from_pretrained` renames while it loads, and since version 5 its models use other names in
# memory than in files; our tables know both spellings. It lists missing and unexpected names in a warning, or returns
# them with `output_loading_info=True`; a missing tensor stays random. **timm** passes every file through
# `checkpoint_filter_fn` of the model's module, which also resizes the patch kernel and the positions when another size
# is asked, and then loads with `strict=True`. In both, q, k and v may be one matrix or three, depending on the model:
# read the names.
