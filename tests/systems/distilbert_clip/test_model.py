"""What no reference says: padding, the fixed scale, the loss's gradients, and every command that takes a CLIP."""

import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.verify import redraw_all
from minimodels.__main__ import main
from minimodels.bert import BERT
from minimodels.projected_clip import ProjectedCLIP, ProjectionHead, clip_loss, soft_target_loss
from minimodels.resnet import ResNet
from minimodels.stored import embedded
from minimodels.vit import ViT
from tests.systems.defaults import defaults, empty, parameters

TEXT = {"vocab_size": 50, "max_length": 14, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 40}


def small(image: str = "vit", **changes) -> ProjectedCLIP:
    seen = (
        ViT(image_size=(16, 16), patch_size=8, embed_dim=24, depth=1, num_heads=3, mlp_dim=40, num_classes=0)
        if image == "vit"
        else ResNet(depths=(1, 1), bottleneck=False, width=8, num_classes=0)
    )
    return redraw_all(ProjectedCLIP(seen, BERT(**TEXT, token_types=0), **{"embed_dim": 12, **changes})).double().eval()


def ids(rows: int = 3) -> torch.Tensor:
    """Row r has r tokens of padding and one more."""
    drawn = torch.randint(1, 50, (rows, 9), generator=torch.Generator().manual_seed(0))
    for row in range(rows):
        drawn[row, 8 - row :] = 0
    return drawn


@pytest.mark.parametrize("image", ["vit", "resnet"])
def test_padding_changes_nothing(image):
    model = small(image)
    with torch.no_grad():
        whole, short = model.encode_text(ids()), model.encode_text(model.trim(ids()))
        alone = torch.cat([model.encode_text(model.trim(row[None])) for row in ids()])
    assert model.trim(ids()).shape == (3, 8) and model.trim(ids()[:0]).shape == (0, 9)
    assert difference(whole, short) < 1e-12 and difference(whole, alone) < 1e-12


def test_the_scale_is_what_the_norms_give():
    """Not learned, in no file; as long as the heads' gains over the temperature, of one type with the weights."""
    model = small(temperature=2.0)
    assert "logit_scale" not in model.state_dict() and model.logit_scale.dtype == torch.float64
    lengths = model.image_tower.proj.norm.weight.norm() * model.text_tower.proj.norm.weight.norm()
    assert difference(model.logit_scale.exp(), lengths / 2) < 1e-12
    fresh = ProjectedCLIP(ViT(image_size=(8, 8), patch_size=8, depth=0, num_classes=0), BERT(depth=0, token_types=0))
    assert abs(fresh.logit_scale.exp().item() - 256) < 1e-3


def test_at_first_every_embedding_is_sixteen_long():
    """The root of 256, but for the epsilon of the norm: beside the variance of what it reads it is to vanish."""
    head = ProjectionHead(40, 256).double().eval()
    numbers = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = head(1e6 * numbers).norm(dim=-1)
    assert difference(lengths, torch.full_like(lengths, 16.0)) < 1e-10


def test_dropout_is_of_training_alone():
    head, features = ProjectionHead(8, 6, dropout=0.5), torch.randn(4, 8)
    assert not torch.equal(head.train()(features), head(features))
    assert torch.equal(head.eval()(features), head(features))


@pytest.mark.parametrize("loss", [soft_target_loss, clip_loss])
def test_gradients_by_finite_differences(loss):
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda a, b: loss(a, b, 0.7), (image.requires_grad_(), text.requires_grad_()), eps=1e-6, atol=1e-6
    )


def test_the_transposed_targets_are_no_distribution():
    generator = torch.Generator().manual_seed(1)
    image, text = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    targets = ((image @ image.T + text @ text.T) / 2).softmax(dim=-1)
    assert difference(targets.sum(dim=1), torch.ones(5).double()) < 1e-12
    assert (targets.T.sum(dim=1) - 1).abs().max() > 0.1
    logits = text @ image.T
    by_hand = -(targets * logits.log_softmax(1)).sum() - (targets * logits.log_softmax(0)).sum()
    assert difference(soft_target_loss(image, text), by_hand / 10) < 1e-12


def test_clips_own_loss_is_that_of_cosines():
    generator = torch.Generator().manual_seed(2)
    image, text = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    logits = torch.stack([F.cosine_similarity(row[None], image) for row in text]) / 0.07
    by_hand = (torch.logsumexp(logits, 1) + torch.logsumexp(logits, 0) - 2 * logits.diag()).mean() / 2
    assert difference(clip_loss(image, text), by_hand) < 1e-12


def test_defaults_are_the_official_config():
    """config.py: projections of 256, dropout 0.1, temperature 1; its encoders are ResNet-50 and DistilBERT."""
    import timm
    from transformers import DistilBertConfig, DistilBertModel

    told = {"embed_dim": 256, "dropout": 0.1, "temperature": 1.0, "pad": 0}
    assert defaults(ProjectedCLIP) == told

    def ours() -> ProjectedCLIP:
        return ProjectedCLIP(ResNet(num_classes=0), BERT(depth=6, token_types=0))

    image = parameters(empty(timm.create_model, "resnet50", num_classes=0))
    text = parameters(empty(DistilBertModel, DistilBertConfig()))
    heads = sum(width * 256 + 256 + 256 * 256 + 256 + 2 * 256 for width in (2048, 768))
    assert parameters(empty(ours)) == image + text + heads


# ---------------------------------------------------------------- the embedded one, on the command line

tiny = pytest.mark.skipif("tiny-projected-clip" not in embedded.names(), reason="it is being trained")


@tiny
@pytest.mark.parametrize("command", ["zero-shot", "search"])
def test_commands_take_it_as_any_other_clip(command, tmp_path, capsys):
    from lessons.stickers.exams import singles
    from lessons.stickers.sheet import CLASSES
    from lessons.stickers.splits import TEST

    exam = singles(TEST, rounds=1)
    chosen = [int((exam.kinds == CLASSES.index(name)).argmax()) + 2 for name in ("dog", "cactus", "rocket")]
    for name, number in zip(("dog", "cactus", "rocket"), chosen):
        Image.fromarray(exam.images[number]).save(tmp_path / f"{name}.png")
    model = ["--model", "tiny-projected-clip", "--json"]
    if command == "zero-shot":
        assert main(["zero-shot", str(tmp_path / "dog.png"), "cactus", "dog", "rocket", *model]) == 0
        best = json.loads(capsys.readouterr().out)["pictures"][0]["answers"][0]["label"]
        assert best == "dog"
    else:
        assert main(["search", str(tmp_path), "a rocket", "--top", "1", *model]) == 0
        assert "rocket.png" in capsys.readouterr().out


@tiny
def test_words_that_its_vocabulary_lacks_are_unknown(tmp_path, capsys):
    import minimodels

    model = minimodels.load("tiny-projected-clip")
    assert model.tokenize.decode(model.tokenize.encode("a zebra")) == "a [UNK]"
    assert type(model).__name__ == "ProjectedCLIP" and not model.training
