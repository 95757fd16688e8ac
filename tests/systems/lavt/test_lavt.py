"""LAVT on the official numbers, the wrong ones that must miss them, its gradients, and what it refuses."""

import copy

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.mutants import mutants_of
from checkpoints_convert.proof.verify import redraw_all
from minimodels import lavt as file
from minimodels.errors import UserError
from minimodels.lavt import LAVT, PWAM, READINGS_OF_Y1, LanguageGate
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


def apart(case, model) -> float:
    """How far the logits of a model are from a case's official ones."""
    image = case.tensor("in.image", torch.float64)
    with torch.no_grad():
        if case.path.name == "tiny_one":
            logits = model(image, case.tensor("in.text"), case.tensor("in.l_mask"))
        else:
            logits = model.segment(image, case.tensor("in.lang").mT, case.tensor("in.l_mask")[..., 0])
    return difference(logits, case.tensor("out.logits"))


# ---------------------------------------------------------------- mutants: one thing wrong each


@pytest.mark.parity
def test_the_right_model_meets_the_official_numbers(official):
    assert max(apart(*official[case]) for case in official) <= 1e-10


@pytest.mark.parity
@pytest.mark.parametrize("mutant", mutants_of("lavt"), ids=lambda mutant: mutant.name)
def test_mutants_are_caught(official, mutant):
    """Every wrong model misses the official numbers that the right one meets."""
    for name in mutant.cases:
        case, model = official[name]
        changed = copy.deepcopy(model)  # BatchNorm in training would remember what it saw
        with mutant.applied(changed):
            assert apart(case, changed) > 1e-7, f"{mutant.name} goes unnoticed"


def test_the_last_gate_is_never_computed(official, monkeypatch):
    """Its weights are in every official file; zeroing them changes nothing, and it gets no gradient."""
    case, model = official["tiny_w4"]
    monkeypatch.setattr(model.gates[-1], "forward", lambda *_: pytest.fail("computed"))
    assert apart(case, model) <= 1e-10


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
