"""LAVT on the official numbers, the wrong ones that must miss them, its gradients, and what it refuses."""

import copy

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, repeat

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.verify import redraw_all
from minimodels import lavt as file
from minimodels import swin
from minimodels.errors import UserError
from minimodels.lavt import LAVT, PWAM, READINGS_OF_Y1, LanguageGate, enlarge
from tests.golden import read_case, run_case
from tests.systems.lavt import golden

CASES = ["tiny", "tiny_w4", "tiny_mha", "tiny_one", "base_keys"]
# Nothing may be made for four stages, patches of 4 or words of 768 alone.
SMALL = golden.SMALL


def small(seed: int = 0, **changes) -> LAVT:
    return redraw_all(LAVT(**{**SMALL, **changes}), seed).double().eval()


def given(batch: int = 2, height: int = 21, width: int = 30, tokens: int = 7, seed: int = 0):
    """A picture, token numbers and their mask; each sentence has another length."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)
    ids = torch.randint(5, 30, (batch, tokens), generator=generator)
    mask = (torch.arange(tokens) < tokens - torch.arange(batch)[:, None]).long()
    return image, ids * mask, mask


# ---------------------------------------------------------------- official numbers


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_official_numbers(root, name, device):
    with torch.no_grad():
        lines = run_case(read_case(root / "tests/golden/lavt" / name), device)
    assert all(line.ok for line in lines), "\n".join(map(str, lines))


@pytest.fixture(scope="module")
def official(root):
    """The cases with their models, built once; BERT inside in tiny_one."""
    cases = {name: read_case(root / "tests/golden/lavt" / name) for name in ("tiny_w4", "tiny_mha", "tiny_one")}
    tensors = {name: case.checkpoint() for name, case in cases.items()}
    bert = golden.small_bert()
    files = {name: t if name == "tiny_one" else golden.tables.join(t, bert) for name, t in tensors.items()}
    return {name: (case, build(files[name], "lavt", **golden.told(case))) for name, case in cases.items()}


def apart(official, name: str) -> float:
    """How far the logits of a case are from the official ones."""
    case, model = official[name]
    image = case.tensor("in.image", torch.float64)
    with torch.no_grad():
        if name == "tiny_one":
            logits = model(image, case.tensor("in.text"), case.tensor("in.l_mask"))
        else:
            logits = model.segment(image, case.tensor("in.lang").mT, case.tensor("in.l_mask")[..., 0])
    return difference(logits, case.tensor("out.logits"))


# ---------------------------------------------------------------- mutants: one thing wrong each


def shrunk_window(self, x):
    """The window of a map smaller than it: the map itself, not shifted."""
    side = min(self.window_size, *x.shape[1:3])
    whole, index = self.window_size, self.attn.index
    place = torch.arange(whole * whole).reshape(whole, whole)[:side, :side].flatten()
    self.attn.index, self.window_size = index[place][:, place], side
    shift, self.shift = self.shift, self.shift if side == whole else 0
    found = LOOK_AROUND(self, x)
    self.attn.index, self.window_size, self.shift = index, whole, shift
    return found


LOOK_AROUND = swin.SwinBlock.look_around


def padding_hidden(self, x):
    """Padded tokens are not seen, as a careful person would have it."""
    h, w, side = x.shape[1], x.shape[2], self.window_size
    real = swin.pad_to_multiple(torch.ones(1, h, w, 1), side)
    real = torch.roll(real, (-self.shift, -self.shift), dims=(1, 2))
    real = swin.split_windows(real, side)[..., 0].bool()  # (W, N)
    bias = self.attn.bias

    def with_padding(windows, seen):
        rows = repeat(real, "w n -> (b w) 1 1 n", b=windows // len(real))
        found = bias(windows, seen)
        return torch.where(rows | ~rows.any(-1, keepdim=True), found, -1e9)

    self.attn.bias = with_padding
    found = LOOK_AROUND(self, x)
    del self.attn.bias
    return found


def merge_across_first(self, x):
    x = rearrange(swin.pad_to_multiple(x, 2), "b (h row) (w col) d -> b h w (row col d)", row=2, col=2)
    return self.reduction(self.norm(x))


def pwam(*, norm_query=True, norm_value=True, bend=F.gelu, bend_visual=F.gelu, masked=True, over=-1, heads="(heads d)"):
    """PWAM spelled out, with one thing wrong."""

    def forward(self, visual, words, mask):
        norm = file.instance_norm
        q = norm(self.query(visual)) if norm_query else self.query(visual)
        q = rearrange(q, f"b h w {heads} -> b heads (h w) d", heads=self.num_heads)
        k, v = (
            rearrange(layer(words), f"b t {heads} -> b heads t d", heads=self.num_heads)
            for layer in (self.key, self.value)
        )
        scores = q @ k.mT * self.scale
        if masked:
            scores = scores.masked_fill(mask[:, None, None] == 0, -1e4)
        mixed = rearrange(scores.softmax(over) @ v, f"b heads (h w) d -> b h w {heads}", h=visual.shape[1])
        attended = norm(self.attended_proj(mixed)) if norm_value else self.attended_proj(mixed)
        return bend(self.out_proj(bend_visual(self.visual_proj(visual)) * attended))

    return lambda model, patch: patch.setattr(PWAM, "forward", forward)


def gate(rule):
    """Another formula in the place of V + tanh(...) * F."""

    def forward(self, visual, fused):
        return rule(visual, fused, self.fc2(self.fc1(fused).relu()))

    return lambda model, patch: patch.setattr(LanguageGate, "forward", forward)


def decoder_reads(change):
    """The decoder's inputs changed: a function of model, stage and maps gives N_i without its norm."""

    def apply(model, patch):
        decode = LAVT.decode

        def wrong(self, maps, size):
            for i in range(1, len(self.norms) + 1):
                maps[f"N_{i}"] = change(self, i, maps)
            return decode(self, maps, size)

        patch.setattr(LAVT, "decode", wrong)

    return apply


def norm_of(model, i, x):
    return file.channels_first(model.norms[i - 1](rearrange(x, "b c h w -> b h w c")))


def fed_with_e(model, i, maps):
    return norm_of(model, i, maps.get(f"E_{i}", maps[f"F_{i}"]))


def fed_with_gated(model, i, maps):
    return norm_of(model, i, maps[f"E_{i}"] - maps[f"V_{i}"] if f"E_{i}" in maps else maps[f"F_{i}"])


def fine_first(self, coarse, fine):
    x = self.norm1(self.conv1(torch.cat([fine, enlarge(coarse, fine.shape[-2:])], dim=1))).relu()
    return self.norm2(self.conv2(x)).relu()


def every(kind, change):
    """The same change to every module of a kind."""

    def apply(model, patch):
        for module in model.modules():
            if isinstance(module, kind):
                change(module, patch)

    return apply


def set_to(name, value):
    return lambda module, patch: patch.setattr(module, name, value)


def replaced(where, name, value):
    return lambda model, patch: patch.setattr(where, name, value)


def all_seen(h, w, side, shift, device=None):
    return torch.ones(h // side * (w // side), side * side, side * side, dtype=torch.bool)


def corners_free(x, size):
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def fits_not_shifted(self, h, w):
    return 0 if min(h, w) <= self.window_size else self.shift


def sample_norm(x):
    variance, mean = torch.var_mean(x, dim=(1, 2), correction=1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def no_types(model, patch):
    patch.setattr(model.bert.token_type, "data", torch.zeros_like(model.bert.token_type))


def early_words(model, patch):
    patch.setattr(model.bert.blocks[-1], "forward", lambda x, keys: x)


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


W4, MHA, ONE = "tiny_w4", "tiny_mha", "tiny_one"
MUTANTS = {
    "window shrunk on small maps": (MHA, replaced(swin.SwinBlock, "look_around", shrunk_window)),
    "no shift where the map fits": (MHA, replaced(swin.SwinBlock, "shift_here", fits_not_shifted)),
    "no shift mask": (W4, replaced(swin, "same_region", all_seen)),
    "no shift": (W4, every(swin.SwinBlock, set_to("shift", 0))),
    "shift in even blocks too": (W4, every(swin.SwinBlock, set_to("shift", 2))),
    "padding masked": (W4, replaced(swin.SwinBlock, "look_around", padding_hidden)),
    "merging across first": (W4, replaced(swin.PatchMerging, "forward", merge_across_first)),
    "LayerNorm eps 1e-6": (W4, every(torch.nn.LayerNorm, set_to("eps", 1e-6))),
    "BatchNorm eps 1e-3": (W4, every(torch.nn.BatchNorm2d, set_to("eps", 1e-3))),
    "BatchNorm in training": (W4, every(torch.nn.BatchNorm2d, set_to("training", True))),
    "PWAM scaled per head": (MHA, every(PWAM, lambda m, patch: patch.setattr(m, "scale", m.scale * m.num_heads**0.5))),
    "PWAM not scaled": (W4, every(PWAM, set_to("scale", 1.0))),
    "heads interleaved": (MHA, pwam(heads="(d heads)")),
    "one head for several": (MHA, every(PWAM, set_to("num_heads", 1))),
    "words not masked": (W4, pwam(masked=False)),
    "softmax over positions": (W4, pwam(over=-2)),
    "query not normalised": (W4, pwam(norm_query=False)),
    "answer not normalised": (W4, pwam(norm_value=False)),
    "tanh GELU": (W4, pwam(bend=tanh_gelu, bend_visual=tanh_gelu)),
    "ReLU behind PWAM": (W4, pwam(bend=torch.relu)),
    "no bend before the product": (W4, pwam(bend_visual=lambda x: x)),
    "InstanceNorm with running statistics": (W4, replaced(file, "instance_norm", lambda x: x * (1 + 1e-5) ** -0.5)),
    "InstanceNorm over the channels": (W4, replaced(file, "instance_norm", lambda x: F.layer_norm(x, x.shape[-1:]))),
    "InstanceNorm eps 1e-6": (W4, replaced(file, "NORM_EPS", 1e-6)),
    "variance of a sample": (W4, replaced(file, "instance_norm", sample_norm)),
    "no gate": (W4, gate(lambda v, f, g: v + f)),
    "gate by sigmoid": (W4, gate(lambda v, f, g: v + g.sigmoid() * f)),
    "gate on the picture": (W4, gate(lambda v, f, g: g.tanh() * v + f)),
    "words alone go on": (W4, gate(lambda v, f, g: g.tanh() * f)),
    "gate before the norm": (W4, decoder_reads(fed_with_gated)),
    "decoder fed E_i": (W4, decoder_reads(fed_with_e)),
    "decoder fed F_i, not normalised": (W4, decoder_reads(lambda model, i, maps: maps[f"F_{i}"])),
    "decoder fed V_i": (W4, decoder_reads(lambda model, i, maps: norm_of(model, i, maps[f"V_{i}"]))),
    "align_corners off": (W4, replaced(file, "enlarge", corners_free)),
    "finer map first": (W4, replaced(file.DecoderStep, "forward", fine_first)),
    "BERT's last block left out": (ONE, early_words),
    "no token types": (ONE, no_types),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", [None, *MUTANTS])
def test_mutants_are_caught(official, name, monkeypatch):
    """The official numbers are met by the model as it is, and missed by each wrong one."""
    if name is None:
        assert max(apart(official, case) for case in official) <= 1e-10
        return
    name_of_case, mutate = MUTANTS[name]
    case, model = official[name_of_case]
    changed = copy.deepcopy(model)  # BatchNorm in training would remember what it saw
    mutate(changed, monkeypatch)
    assert apart({name_of_case: (case, changed)}, name_of_case) > 1e-7, f"{name} goes unnoticed"


def test_the_last_gate_is_never_computed(official, monkeypatch):
    """Its weights are in every official file; zeroing them changes nothing, and it gets no gradient."""
    case, model = official[W4]
    monkeypatch.setattr(model.gates[-1], "forward", lambda *_: pytest.fail("computed"))
    assert apart(official, W4) <= 1e-10


# ---------------------------------------------------------------- gradients: no library has LAVT, so by differences


@pytest.mark.parity
def test_gradients_against_finite_differences():
    """Of the picture, the words and every parameter, along random directions, in float64."""
    assert golden.gradients() <= 1e-6
    model = small()
    image, ids, mask = given(tokens=5)
    model(image, ids, mask).sum().backward()
    assert {name for name, tensor in model.named_parameters() if tensor.grad is None} == set(golden.UNUSED)


def test_a_wrong_gradient_is_noticed():
    with pytest.MonkeyPatch.context() as patch:
        forward = LanguageGate.forward
        patch.setattr(LanguageGate, "forward", lambda self, v, f: forward(self, v, f.detach()))
        assert golden.gradients(part="gates") > 1e-3


def test_gradients_of_pwam_by_torch():
    module = redraw_all(PWAM(6, 5, 2), seed=0).double()
    visual = torch.randn(1, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    words = torch.randn(1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, w: module(v, w, torch.tensor([[1, 1, 1, 0]])), (visual, words))


# ---------------------------------------------------------------- what it promises


def test_names_of_the_maps():
    """Every intermediate of the paper by name, both readings of Y1 among them."""
    model = small()
    image, ids, mask = given(height=64, width=64)
    with torch.no_grad():
        maps = model.maps(image, model.encode_text(ids, mask), mask)
        assert difference(model(image, ids, mask), maps["logits"]) <= 1e-12
    names = {f"{letter}_{i}" for letter in "VFNY" for i in (1, 2, 3)} | {"E_1", "E_2"}
    assert maps.keys() == names | {"patches", "logits_low", "logits"}
    assert {name: tuple(maps[name].shape) for name in READINGS_OF_Y1.values()} == {
        "Y_1": (2, 6, 32, 32),
        "N_1": (2, 8, 32, 32),
    }
    assert torch.equal(maps["Y_3"], maps["N_3"])
    assert maps["V_3"].shape == maps["F_3"].shape == (2, 32, 8, 8)


@pytest.mark.parametrize("heads", [1, 3])
def test_the_weights_in_the_open_are_those_that_run(heads):
    module = redraw_all(PWAM(12, 5, heads), seed=1).double()
    visual, words = torch.randn(2, 4, 5, 12, dtype=torch.float64), torch.randn(2, 6, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    with torch.no_grad():
        weights = module.weights(visual, words, mask)
        value = rearrange(module.value(words), "b t (heads d) -> b heads t d", heads=heads)
        mixed = torch.einsum("bnhwt,bntd->bhwnd", weights, value).flatten(3)
        attended = file.instance_norm(module.attended_proj(mixed))
        expected = F.gelu(module.out_proj(F.gelu(module.visual_proj(visual)) * attended))
        assert difference(module(visual, words, mask), expected) <= 1e-12
    assert difference(weights.sum(-1), torch.ones(2, heads, 4, 5)) <= 1e-12 and weights[1, ..., 2:].eq(0).all()


def test_padding_changes_nothing():
    """A sentence padded to another length gives the same logits."""
    model = small()
    image, ids, mask = given()
    longer = F.pad(ids, (0, 3)), F.pad(mask, (0, 3))
    with torch.no_grad():
        assert difference(model(image, *longer), model(image, ids, mask)) <= 1e-12


@pytest.mark.parametrize("size", [(33, 2000), (9, 1), (1, 9), (64, 64), (17, 40)])
def test_any_size_with_more_than_one_last_position(size):
    """Each picture alone and in a batch, the logits of its own size, finite."""
    model = small()
    image, ids, mask = given(height=size[0], width=size[1])
    with torch.no_grad():
        logits = model(image, ids, mask)
        alone = torch.cat([model(image[i : i + 1], ids[i : i + 1], mask[i : i + 1]) for i in range(2)])
    assert logits.shape == (2, 2, *size) and logits.isfinite().all() and difference(logits, alone) <= 1e-9


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 7)])
def test_a_picture_that_ends_as_one_position(size):
    _, ids, mask = given()
    with pytest.raises(UserError, match=f"{size[0]} x {size[1]} pixels ends as one position.*more than 8 pixels"):
        small()(torch.zeros(2, 3, *size, dtype=torch.float64), ids, mask)


def test_sentences_without_a_word():
    image, ids, mask = given()
    mask[1, 2:] = 0
    with pytest.raises(UserError, match="sentence 1 of 2 holds no word"):
        small()(image, ids, mask)
    with pytest.raises(UserError, match="there is no sentence"):
        small().encode_text(ids[:0], mask[:0])


def test_an_empty_mask():
    model = small()
    image, ids, mask = given()
    words = model.encode_text(ids, mask)
    mask[1] = 0
    with pytest.raises(UserError, match="the mask of sentence 1 of 2 has no real token"):
        model.segment(image, words, mask)


def test_sentences_that_are_too_long_for_bert():
    image, ids, mask = given(tokens=13)
    with pytest.raises(UserError, match="13 tokens do not fit this BERT's 12 positions"):
        small()(image, ids, mask)


@pytest.mark.parametrize(
    "images, words, mask, message",
    [
        (1, (2, 7, 12), (2, 7), "1 pictures and 2 sentences.*image.expand"),
        (2, (2, 7, 11), (2, 7), r"words have shape \(2, 7, 11\).*\(sentences, tokens, 12\)"),
        (0, (0, 7, 12), (0, 7), "0 pictures and 0 sentences"),
    ],
)
def test_words_that_do_not_fit(images, words, mask, message):
    image = torch.zeros(images, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(UserError, match=message):
        small().segment(image, torch.zeros(words, dtype=torch.float64), torch.ones(mask, dtype=torch.long))


def test_a_mask_of_another_length():
    with pytest.raises(UserError, match=r"their mask \(2, 6\)"):
        file.check_words(torch.zeros(2, 3, 32, 32), torch.zeros(2, 7, 12), torch.ones(2, 6), 12)


def test_sizes_that_make_no_model():
    with pytest.raises(UserError, match="one number for each stage"):
        LAVT(**{**SMALL, "fusion_heads": (1, 1)})
    with pytest.raises(UserError, match="embed_dim 8 cannot be split into 3 heads"):
        LAVT(**{**SMALL, "fusion_heads": (3, 1, 1)})
