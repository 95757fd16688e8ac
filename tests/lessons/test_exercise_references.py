"""Where a check uses a loop instead of a slow import, the loop is held against the library it stands for."""

from types import SimpleNamespace

import pytest
import torch

from lessons.checker import Random
from lessons.checker.exercises import catalogue
from lessons.checker.load import load_exercise


def module(number):
    """What the file of an exercise defines."""
    return load_exercise(catalogue()[number])


def cases(number, task=0):
    one = module(number).TASKS[task]
    return [(tuple(inputs.values()), one.reference(*inputs.values())) for inputs in one.cases(Random(3))]


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_quick_gelu_is_that_of_transformers():
    from transformers.activations import QuickGELUActivation

    for (x,), want in cases("2.2.2", task=1):
        close(QuickGELUActivation()(x), want)


def test_class_token_and_positions_are_those_of_timm():
    from timm.models.vision_transformer import VisionTransformer

    for (patches, class_token, pos), want in cases("2.3.3"):
        dim = patches.shape[-1]
        model = VisionTransformer(
            img_size=(4, 4 * patches.shape[1]), patch_size=4, embed_dim=dim, depth=0, num_heads=1
        ).double()
        model.cls_token.data, model.pos_embed.data = class_token[None, None], pos[None]
        close(model._pos_embed(patches), want)


def test_resized_positions_are_those_of_transformers():
    """transformers' table is always for a square picture, so the grids that are square are compared."""
    from transformers import ViTConfig
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    resize = module("2.3.4").TASKS[0].reference
    for side, new_grid in [(3, (3, 5)), (4, (2, 3)), (2, (4, 4))]:
        embeddings = ViTEmbeddings(
            ViTConfig(image_size=side * 4, patch_size=4, hidden_size=6, num_attention_heads=1)
        ).double()
        embeddings.position_embeddings.data = pos = torch.randn(1, side * side + 1, 6, dtype=torch.float64)
        tokens = torch.zeros(1, new_grid[0] * new_grid[1] + 1, 6)
        theirs = embeddings.interpolate_pos_encoding(tokens, new_grid[0] * 4, new_grid[1] * 4)
        close(resize(pos[0], (side, side), new_grid), theirs[0])


def test_the_antialias_mistake_is_what_timm_does():
    from timm.layers import resample_abs_pos_embed

    check = module("2.3.4")
    for (pos, grid, new_grid), _ in cases("2.3.4"):
        theirs = resample_abs_pos_embed(pos[None], list(new_grid), list(grid))[0]  # in float32 inside
        close(check.flawed(pos, grid, new_grid, antialias=True), theirs, 1e-5)


def test_byte_alphabet_and_rows_are_those_of_open_clip():
    from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode

    assert module("3.1.1").alphabet() == [bytes_to_unicode()[byte] for byte in range(256)]
    assert module("3.1.6").alphabet() == module("3.1.1").alphabet()
    tokenizer = SimpleTokenizer(context_length=8)
    row = module("3.1.5").reference
    for text in ("", "a dog", "one two three four five six seven eight"):
        theirs = tokenizer([text])[0]
        assert (
            row(tokenizer.encode(text), tokenizer.sot_token_id, tokenizer.eot_token_id, 8).tolist() == theirs.tolist()
        )


def test_end_of_text_pooling_is_that_of_open_clip():
    from open_clip.transformer import text_global_pool

    for (tokens, ids), want in cases("3.2.1"):
        pooled = text_global_pool(tokens, ids, pool_type="argmax")
        close(pooled[0] if isinstance(pooled, tuple) else pooled, want)


@pytest.mark.parametrize("number", ["3.3.1", "3.3.6"])
def test_contrastive_loss_is_that_of_open_clip(number):
    from open_clip.loss import ClipLoss

    for (image, text, logit_scale), want in cases(number):
        image, text = (torch.nn.functional.normalize(x, dim=-1) for x in (image, text))
        close(ClipLoss()(image, text, logit_scale.exp()), want)


def test_classifier_is_that_of_open_clip():
    from open_clip import build_zero_shot_classifier

    for (labels, templates, encode_text), want in cases("3.4.1"):

        def encode(texts, normalize=False, encode_text=encode_text):
            rows = encode_text(texts)
            return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows

        model = SimpleNamespace(encode_text=encode)
        fill = [lambda label, template=template: template.format(label) for template in templates]
        tokenizer = Texts
        theirs = build_zero_shot_classifier(model, tokenizer, labels, fill, num_classes_per_batch=None, device="cpu")
        close(theirs.T, want)


class Texts(list):
    """What open_clip's recipe takes for tokens: a list that can be sent to a device."""

    def to(self, device):
        return self


def test_the_decoders_walk_and_head_are_those_of_transformers():
    """FiLM, the walk and the plain head (4.1.2 to 4.1.4) inside transformers' decoder, its steps caught by hooks."""
    from transformers import CLIPSegConfig
    from transformers.models.clipseg.modeling_clipseg import CLIPSegDecoder

    numbers = {"projection_dim": 5, "reduce_dim": 6, "decoder_num_attention_heads": 3, "decoder_intermediate_size": 8}
    vision = {"hidden_size": 10, "num_attention_heads": 2, "patch_size": 4}
    config = CLIPSegConfig(vision_config=vision, extract_layers=[0, 1, 2], attn_implementation="sdpa", **numbers)
    decoder = CLIPSegDecoder(config).double().eval()
    for parameter in decoder.parameters():
        parameter.data.normal_()
    seen = {}
    decoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.update(film=inputs[0]))
    decoder.layers[0].register_forward_hook(lambda _, __, out: seen.update(first=out))
    decoder.layers[-1].register_forward_hook(lambda _, __, out: seen.update(tokens=out))
    activations, prompt = [torch.randn(2, 10, 10).double() for _ in range(3)], torch.randn(2, 5).double()
    logits = decoder(tuple(activations), prompt).logits
    blocks = [lambda x, layer=layer: layer(x, attention_mask=None) for layer in decoder.layers]
    parts = {"reduces": list(decoder.reduces), "blocks": blocks, "mul": decoder.film_mul, "add": decoder.film_add}
    for name, want in module("4.1.3").TASKS[0].reference(activations, prompt, parts).items():
        close(want, seen[name])
    layers = [part for one in (decoder.film_mul, decoder.film_add) for part in (one.weight, one.bias)]
    close(module("4.1.2").TASKS[0].reference(decoder.reduces[0](activations[-1]), prompt, *layers), seen["film"])
    head = decoder.transposed_convolution
    close(module("4.1.4").TASKS[0].reference(seen["tokens"], head.weight, head.bias), logits)


def test_averages_and_thresholds_are_those_of_the_papers_code():
    """minimodels.metrics.masks is held against the released code's own numbers in tests/metrics/test_metrics.py."""
    from minimodels.metrics import masks

    for (found, truth, classes), want in cases("4.2.4"):
        counts = masks.mask_counts(found.double(), truth, torch.tensor([0.5]))
        theirs = {"scenes": counts.iou().mean(), "pixels": masks.foreground_iou(counts)[0]}
        theirs["classes"] = masks.mean_class_iou(counts, classes)[0]
        close(theirs, want)
    for (probabilities, truth, thresholds), want in cases("4.2.5"):
        total = masks.mask_counts(probabilities, truth, thresholds).total()
        close((total.tp / (1 + total.tp + total.fp).double())[0], want["precision"])
        close((total.tp / (1 + total.tp + total.fn).double())[0], want["recall"])


def test_the_box_and_the_highlight_are_those_of_picture_prompts():
    """minimodels.picture_prompts equals the released code's golden case."""
    from minimodels import picture_prompts

    for (mask, context), want in cases("4.3.2"):
        assert picture_prompts.mask_box(mask, context) == want
    for (picture, mask, blurred, factor), want in cases("4.3.1"):
        shown = picture_prompts.highlight(picture, mask, background=0.0) + factor * blurred * ~mask[:, None]
        close(shown, want)
