"""BERT and DistilBERT against transformers: outputs, blocks, gradients, padding, token types; what they refuse."""

import copy

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside, difference, redraw_all
from minimodels.bert import BERT
from minimodels.blocks import Attention, Block, QuickGELU
from minimodels.errors import UserError

REFERENCE = reference_named("BERT", "transformers")
DISTIL = reference_named("DistilBERT", "transformers")
SMALL = {
    "vocab_size": 50, "max_length": 14, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 40, "pooler": True,
}  # fmt: skip


def small(**changes) -> BERT:
    return redraw_all(BERT(**{**SMALL, **changes})).double()


def texts(rows: int = 3, length: int = 9, vocab_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and a mask; row r has 2 r tokens of padding."""
    ids = torch.randint(1, vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(rows, length, dtype=torch.long)
    for row in range(rows):
        mask[row, length - 2 * row :] = 0
    return ids * mask, mask


# ---------------------------------------------------------------- parity


@pytest.mark.parity
def test_without_token_types_all_are_of_the_first_text():
    twin = twins(REFERENCE)
    ids, mask = texts()
    with torch.no_grad():
        expected = twin.theirs.double()(input_ids=ids, attention_mask=mask).last_hidden_state
        assert difference(twin.ours.double()(ids, mask), expected) <= 1e-10
        assert difference(twin.ours(ids, mask.bool()), expected) <= 1e-10


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("reference", [REFERENCE, DISTIL], ids=["BERT", "DistilBERT"])
def test_official_sizes(reference, device):
    sizes = next(iter(reference.official.values()))
    assert (comparison := beside(reference, sizes, device=device, batch=2)).ok, f"\n{comparison}"


# ---------------------------------------------------------------- mutants


def every_block(change):
    def apply(model, patch):
        for block in model.blocks:
            change(block)

    return apply


def pre_norm(block):
    block.__class__ = Block


def other_eps(block):
    block.norm1.eps = block.norm2.eps = 1e-5


def tanh_gelu(block):
    block.mlp.activation = nn.GELU(approximate="tanh")


def quick_gelu(block):
    block.mlp.activation = QuickGELU()


def swapped_norms(block):
    block.norm1, block.norm2 = block.norm2, block.norm1


def fewer_heads(block):
    block.attn.num_heads, block.attn.head_dim = 1, 24


def causal(block):
    block.attn.causal = True


def one_residual(block):
    def forward(x, mask=None):
        x = block.norm1(x + block.attn(x, mask))
        return block.norm2(block.mlp(x))

    block.forward = forward


def norm_before_sum(block):
    def forward(x, mask=None):
        x = x + block.norm1(block.attn(x, mask))
        return x + block.norm2(block.mlp(x))

    block.forward = forward


def mask_made_by(make):
    def apply(model, patch):
        patch.setattr(BERT, "key_mask", lambda self, ids, mask: make(mask.bool()) if mask is not None else None)

    return apply


def after_softmax(model, patch):
    """Masked weights are zeroed, but the rows no longer sum to one."""

    def forward(self, x, mask=None):
        q, k, v = self.split_heads(x)
        weights = (q @ k.mT * self.head_dim**-0.5).softmax(-1)
        weights = weights if mask is None else weights * mask
        return self.out_proj(rearrange(weights @ v, "b heads n d -> b n (heads d)"))

    patch.setattr(Attention, "forward", forward)


def weak_mask(model, patch):
    """Minus ten instead of minus infinity."""

    def forward(self, x, mask=None):
        q, k, v = self.split_heads(x)
        scores = q @ k.mT * self.head_dim**-0.5
        scores = scores if mask is None else scores - 10 * (~mask)
        return self.out_proj(rearrange(scores.softmax(-1) @ v, "b heads n d -> b n (heads d)"))

    patch.setattr(Attention, "forward", forward)


def embedding(**wrong):
    """The first layer spelled out, with one thing wrong."""

    def embed(self, ids, token_types=None):
        types = torch.zeros_like(ids) if token_types is None else token_types
        x = self.token_embedding(ids) * wrong.get("factor", 1)
        start = wrong.get("first_position", 0)
        x = x + self.pos.roll(-start, 0)[: ids.shape[1]]
        if wrong.get("types", True):
            x = x + self.token_type[types if not wrong.get("swapped") else 1 - types]
        return self.norm(x) if wrong.get("norm", True) else x

    return lambda model, patch: patch.setattr(BERT, "embed", embed)


def masked_embeddings(model, patch):
    """Padding zeroed instead of hidden: a zero vector still has a key and a value."""
    embed = BERT.embed
    patch.setattr(BERT, "embed", lambda self, ids, types=None: embed(self, ids, types) * (ids != 0)[..., None])
    patch.setattr(BERT, "key_mask", lambda self, ids, mask: None)


MUTANTS = {
    "pre-norm": every_block(pre_norm),
    "norm before the sum": every_block(norm_before_sum),
    "eps 1e-5": every_block(other_eps),
    "eps 1e-5 in the embedding": lambda model, patch: setattr(model.norm, "eps", 1e-5),
    "tanh GELU": every_block(tanh_gelu),
    "QuickGELU": every_block(quick_gelu),
    "norms swapped": every_block(swapped_norms),
    "one head": every_block(fewer_heads),
    "causal": every_block(causal),
    "no second residual": every_block(one_residual),
    "mask inverted": mask_made_by(lambda real: ~real[:, None, None]),
    "mask ignored": mask_made_by(lambda real: None),
    "mask of the first text for all": mask_made_by(lambda real: real[:1, None, None]),
    "queries masked, not keys": mask_made_by(lambda real: real[:, None, :, None] | torch.eye(len(real[0])).bool()),
    "[CLS] masked": mask_made_by(lambda real: F.pad(real[:, None, None, 1:], (1, 0))),
    "mask after the softmax": after_softmax,
    "a mask of minus ten": weak_mask,
    "padding zeroed, not hidden": masked_embeddings,
    "no token types": embedding(types=False),
    "token types swapped": embedding(swapped=True),
    "positions from 1": embedding(first_position=1),
    "no norm after the embedding": embedding(norm=False),
    "words scaled as in the first transformer": embedding(factor=24**0.5),
    "last block left out": lambda model, patch: setattr(model, "blocks", model.blocks[:-1]),
    "pooler without tanh": lambda model, patch: patch.setattr(BERT, "pool", lambda self, t: self.pooler(t[:, 0])),
    "pooler of the last token": lambda model, patch: patch.setattr(
        BERT, "pool", lambda self, t: torch.tanh(self.pooler(t[:, -1]))
    ),
}
RIGHT = {"nothing wrong": lambda model, patch: None, "the embedding spelled out": embedding()}


@pytest.fixture(scope="module")
def pair():
    """Both models, inputs with padding and two texts a row, and transformers' answers."""
    twin = twins(REFERENCE, batch=3)
    twin.theirs.double(), twin.ours.double()
    with torch.no_grad():
        return twin, REFERENCE.run_reference(twin.theirs, **twin.inputs)


@pytest.mark.parity
@pytest.mark.parametrize("name", [*RIGHT, *MUTANTS])
def test_mutants_are_caught(name, pair, monkeypatch):
    """The same comparison passes with the model as it is, and fails with each mutant, at real tokens alone."""
    twin, right = pair
    ours, mask = copy.deepcopy(twin.ours), twin.inputs["mask"].bool()
    {**RIGHT, **MUTANTS}[name](ours, monkeypatch)
    with torch.no_grad():
        answer = REFERENCE.run(ours, **twin.inputs)
    apart = max(
        difference(answer["tokens"][mask], right["tokens"][mask]), difference(answer["pooled"], right["pooled"])
    )
    assert apart <= 1e-10 if name in RIGHT else apart > 1e-8


def test_a_stopped_gradient_is_caught():
    twin = twins(REFERENCE)
    twin.ours.norm.register_forward_hook(lambda module, given, output: output.detach())
    found = twin.compare()
    assert not found.ok and found.largest("output") <= 1e-10


# ---------------------------------------------------------------- padding


def test_padding_changes_no_token():
    """A text alone and the same text padded in a batch give the same tokens."""
    model = small().eval()
    ids, mask = texts()
    with torch.no_grad():
        batch = model(ids, mask)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            alone = model(ids[row : row + 1, :length])
            assert difference(batch[row, :length], alone[0]) <= 1e-12
        other = ids.where(mask.bool(), 7)
        assert difference(model(other, mask)[mask.bool()], batch[mask.bool()]) <= 1e-12
        assert difference(model(ids, torch.ones_like(ids)), model(ids)) <= 1e-12


def test_one_wide_weights_for_a_debugger():
    """`Attention.weights` with the padding mask: no weight on padding, each row sums to one."""
    model = small().eval()
    ids, mask = texts()
    weights = model.blocks[0].attn.weights(model.embed(ids), model.key_mask(ids, mask))
    assert weights.shape == (3, 3, 9, 9)
    assert torch.equal(weights[:, 0, 0] > 0, mask.bool())
    assert difference(weights.sum(-1), torch.ones(3, 3, 9).double()) <= 1e-12


def test_bad_input():
    model = small()
    ids, mask = texts()
    with pytest.raises(UserError, match="texts of 15 tokens do not fit this BERT's 14 positions.*truncate=True"):
        model(torch.ones(1, 15, dtype=torch.long))
    for wrong in (50, -1):
        with pytest.raises(UserError, match="ids must be 0 to 49, here came .*another model's tokenizer"):
            model(torch.tensor([[1, wrong]]))
    with pytest.raises(UserError, match="ids must be 0 to 49, here came none"):
        model(torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(UserError, match="token_types must be 0 to 1, here came 0 to 2"):
        model(ids, mask, torch.zeros_like(ids).index_fill(1, torch.tensor([3]), 2))
    with pytest.raises(UserError, match="knows no token types"):
        small(token_types=0)(ids, mask, torch.zeros_like(ids))
    with pytest.raises(UserError, match="padding alone"):
        model(ids, mask * torch.tensor([[1], [0], [1]]))
    with pytest.raises(UserError, match=r"the mask is \(3, 8\), the ids are \(3, 9\)"):
        model.key_mask(ids, mask[:, 1:])
    with pytest.raises(UserError, match="without its pooler"):
        small(pooler=False).pool(model(ids))
