"""The metadata of our own model files: whatever stands there, a model that is meant or one line."""

import inspect
import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess, TimmPreprocess, TransformersPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.pixels.preprocess_tensor import SquashPreprocess, TensorPreprocess
from minimodels.stored import embedded, models
from minimodels.stored.arguments import LARGEST, read_arguments
from minimodels.stored.classes import model_class
from minimodels.words.byte_pair import BytePairTokenizer, learn_merges
from minimodels.words.word_piece import learn_words
from tests.stored.damage import as_file, damaged

MERGES = learn_merges(["a small dog", "a big cat on grass"], 12)
VOCABULARY = BytePairTokenizer(MERGES).vocab_size
WORDS = learn_words(["the cat on the left"])
CLIP = {
    "embed_dim": 8, "image_size": 16, "patch_size": 8, "context_length": 9, "quick_gelu": False, "vision_width": 8,
    "vision_depth": 1, "vision_heads": 2, "text_width": 8, "text_depth": 1, "text_heads": 2, "vocab_size": VOCABULARY,
}  # fmt: skip
SWIN = {"patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": [2, 2], "mlp_ratio": 2.0}
BERT = {"vocab_size": len(WORDS), "max_length": 9, "embed_dim": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8}
ViT = {"image_size": [16, 16], "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8}
CLIPS = {
    "embed_dim": 8, "image_size": 16, "patch_size": 8, "vision_width": 8, "vision_depth": 1, "vision_heads": 2,
    "vision_mlp_dim": 8, "text_width": 8, "text_depth": 1, "text_heads": 2, "text_mlp_dim": 8, "context_length": 9,
    "vocab_size": len(WORDS) + 3, "norm_eps": 1e-6, "tanh_gelu": True,
}  # fmt: skip
BPE = {"kind": "bpe", "merges": [list(pair) for pair in MERGES], "context_length": 9}
SMALL = {
    "CLIP": (CLIP, CLIPPreprocess(16), BPE),
    "CLIPS": (
        CLIPS, SquashPreprocess(16),
        {"kind": "word_rows", "vocabulary": [*WORDS, "[unused0]", "[unused1]"], "context_length": 9, "frame": "clips"},
    ),
    "CLIPSeg": (
        {"clip": {"class": "CLIP", "arguments": CLIP}, "extract_layers": [0], "reduce_dim": 4, "decoder_heads": 2,
         "decoder_mlp_dim": 8, "refined_kernels": [4, 2]}, TensorPreprocess(16), BPE,
    ),
    "LAVT": (
        {"backbone": {"class": "SwinBackbone", "arguments": SWIN}, "bert": {"class": "BERT", "arguments": BERT},
         "fusion_heads": [1, 1], "decoder_dim": 8}, SquashPreprocess(16),
        {"kind": "wordpiece", "vocabulary": WORDS, "context_length": 9, "keep_end": False},
    ),
    "SAM": (
        {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_dim": 8, "window_size": 2,
         "global_blocks": [1], "prompt_dim": 8, "mask_channels": 4, "decoder_depth": 1, "decoder_heads": 2,
         "decoder_mlp_dim": 8, "decoder_eps": 1e-5, "num_masks": 3, "iou_dim": 8}, PaddedPreprocess(16), None,
    ),
    "ViT": ({**ViT, "num_classes": 3, "norm_eps": 1e-6}, TimmPreprocess(16), None),
    "DINOv2": (
        {**ViT, "image_size": 16, "position_offset": 0.0, "antialias": False, "num_registers": 1},
        TransformersPreprocess(16, (16, 16)), None,
    ),
}  # fmt: skip


def usual(name):
    """The arguments of a class as its constructor has them, where they are numbers."""
    parameters = inspect.signature(model_class(name)).parameters.values()
    return {taken.name: taken.default for taken in parameters if isinstance(taken.default, (int, float, tuple))}


def small(name):
    """Metadata and tensors of a model in miniature."""
    arguments, preprocess, tokenizer = SMALL[name]
    about = {"system": name.lower(), "class": name, "arguments": arguments, "trained_on": "Sticker World"}
    about["preprocess"] = json.loads(json.dumps(preprocess_to_dict(preprocess)))
    if tokenizer:
        about["tokenizer"] = tokenizer
    torch.manual_seed(0)
    return about, models.make(name, arguments).state_dict()


def write(path, tensors, about):
    save_file(tensors, path, metadata=about)
    return path


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SMALL)
def test_any_damage_ends_in_a_model_or_in_one_line(tmp_path, name, every):
    about, tensors = small(name)
    model = models.open_file(write(tmp_path / "whole.safetensors", tensors, as_file(about)))
    assert type(model).__name__ == name and model.preprocess is not None
    path, tried, refused = tmp_path / "damaged.safetensors", 0, 0
    for what, damage in damaged(about, step=1 if every else 4):
        tried += 1
        try:
            models.open_file(write(path, tensors, damage))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1000, what
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
    assert tried > 100 and refused > 0.6 * tried


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("CLIP", {"text_depth": 10**9}, "text_depth in the arguments of CLIP is 1000000000, expected a whole number"),
        ("CLIP", {"text_depth": LARGEST}, "ask for more than .* parts, the file has .* tensors"),
        ("CLIP", {"vision_width": 0}, "vision_width in the arguments of CLIP is 0, expected a whole number, 1 to"),
        ("CLIP", {"vision_width": -8}, "vision_width in the arguments of CLIP is -8"),
        ("CLIP", {"vision_heads": 3}, "cannot be split into 3 heads"),
        ("CLIP", {"quick_gelu": 1}, "quick_gelu in the arguments of CLIP is 1, expected true or false"),
        ("CLIP", {"embed_dim": 8.0}, "embed_dim in the arguments of CLIP is 8.0"),
        ("CLIP", {"colour": 8}, 'name "colour"; CLIP takes: embed_dim'),
        ("CLIPSeg", {"clip": {"class": "ViT", "arguments": {}}}, 'no model class "ViT" in minimodels, expected CLIP'),
        ("CLIPSeg", {"clip": {"class": "CLIP"}}, "clip in the arguments of CLIPSeg is an object with 1 keys, expected"),
        ("CLIPSeg", {"clip": 5}, "clip in the arguments of CLIPSeg is 5, expected"),
        ("LAVT", {"fusion_heads": 1}, "fusion_heads in the arguments of LAVT is 1, expected a list"),
        ("ViT", {"image_size": [16]}, "image_size in the arguments of ViT is .16., expected a list of 2"),
        ("ViT", {"norm_eps": 0}, "norm_eps in the arguments of ViT is 0, expected a number above 0 up to 1"),
        ("ViT", {"norm_eps": float("nan")}, "norm_eps in the arguments of ViT is NaN"),
        ("DINOv2", {"position_offset": -0.1}, "position_offset in the arguments of DINOv2 is -0.1, expected a number"),
        ("ViT", {"embed_dim": 16}, "does not hold a whole ViT"),
    ],
)
def test_arguments_that_make_no_model(tmp_path, name, change, words):
    about, tensors = small(name)
    about["arguments"] = {**about["arguments"], **change}
    path = write(tmp_path / "m.safetensors", tensors, as_file(about))
    with pytest.raises(UserError, match=words):
        models.open_file(path)


def emptied(value):
    """The arguments once for each number in them, at any depth, with that number 0, and once with each list empty."""
    if type(value) in (int, float):
        yield 0 * value
    elif isinstance(value, dict):
        yield from ({**value, key: new} for key, inner in value.items() for new in emptied(inner))
    elif isinstance(value, (list, tuple)):
        yield []
        yield from ([*value[:at], new, *value[at + 1 :]] for at, inner in enumerate(value) for new in emptied(inner))


@pytest.mark.parametrize(
    "name, arguments",
    [
        *((name, arguments) for name, (arguments, *_) in SMALL.items()),
        *((name, usual(name)) for name in ("BERT", "CLIPResNet", "ResNet", "Swin")),
        ("ProjectedCLIP", {part + "_encoder": {"class": name, "arguments": usual(name)} for part, name in
                           (("image", "ViT"), ("text", "BERT"))}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_nothing_where_a_number_is_asked(name, arguments):
    """A constructor that divides by it, or takes its root, is never called."""
    models.build(name, arguments)
    for new in emptied(arguments):
        try:
            models.build(name, new)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("key", ["arguments", "system"])
def test_what_every_file_says(tmp_path, key):
    about, tensors = small("ViT")
    path = write(tmp_path / "m.safetensors", tensors, as_file({k: v for k, v in about.items() if k != key}))
    with pytest.raises(UserError, match=f"damaged metadata .without {key}"):
        models.open_file(path)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"merges": BPE["merges"][:-1]}, "ids, the model .* rows for them: it belongs to another model"),
        ({"merges": [*BPE["merges"], ["a", "b"]]}, "it belongs to another model"),
        ({"kind": "clip", "merges": ...}, "49,408 ids, the model"),
        ({"kind": "merges"}, "kind in tokenizer is"),
        ({"kind": ["bpe"]}, "kind in tokenizer is"),
        ({"merges": [["a"]]}, "expected a list of 2"),
        ({"merges": [["a", 5]]}, "expected a text"),
        ({"merges": ...}, "the tokenizer bpe lack merges"),
        ({"context_length": 1}, "rows of 1 ids, expected 2 to"),
        ({"context_length": 2**16 + 1}, "rows of 65,537 ids, expected 2 to"),
    ],
)
def test_a_tokenizer_of_another_model(tmp_path, change, words):
    about, tensors = small("CLIP")
    changed = {**about["tokenizer"], **change}
    about["tokenizer"] = {key: value for key, value in changed.items() if value is not ...}
    with pytest.raises(UserError, match=words):
        models.open_file(write(tmp_path / "m.safetensors", tensors, as_file(about)))


def test_rows_of_the_shortest_and_the_longest_kind(tmp_path):
    for length in (2, 2**16):
        about, tensors = small("CLIP")
        about["tokenizer"] = {**about["tokenizer"], "context_length": length}
        model = models.open_file(write(tmp_path / "m.safetensors", tensors, as_file(about)))
        assert model.tokenize.context_length == length


def test_a_vocabulary_may_be_shorter_than_the_table_and_not_longer(tmp_path):
    about, tensors = small("LAVT")
    shorter = {**about, "tokenizer": {**about["tokenizer"], "vocabulary": WORDS[:-1]}}
    assert models.open_file(write(tmp_path / "m.safetensors", tensors, as_file(shorter))).tokenize("the")
    longer = {**about, "tokenizer": {**about["tokenizer"], "vocabulary": [*WORDS, "more"]}}
    with pytest.raises(UserError, match="belongs to another model"):
        models.open_file(write(tmp_path / "m.safetensors", tensors, as_file(longer)))


@pytest.mark.parametrize(
    "borrowed, words",
    [
        (5, "borrowed in the metadata of .* is 5"),
        ({"clip.": 5}, "clip. in borrowed in the metadata"),
        ({"clip.": "../../../etc"}, "expected one of tiny-clip"),
        ({"clip.": "tiny-clipseg"}, "does not hold a whole CLIPSeg"),
        ({"clip.": "tiny-clip", "other.": "tiny-clip"}, "names one model for several parts"),
        ({"other.": "tiny-clip"}, "does not hold a whole CLIPSeg"),
    ],
)
def test_what_may_be_borrowed(tmp_path, borrowed, words):
    about, tensors = small("CLIPSeg")
    path = write(tmp_path / "m.safetensors", tensors, as_file({**about, "borrowed": borrowed}))
    with pytest.raises(UserError, match=words):
        models.open_file(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_without_numbers_are_refused(tmp_path, number):
    about, tensors = small("ViT")
    tensors["head.bias"][1] = number
    path = write(tmp_path / "m.safetensors", tensors, as_file(about))
    with pytest.raises(UserError, match="1 of .* tensors hold NaN or infinite values, first head.bias"):
        models.open_file(path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_numbers_are_refused(tmp_path, dtype):
    about, tensors = small("ViT")
    tensors["head.weight"] = tensors["head.weight"].to(dtype)
    path = write(tmp_path / "m.safetensors", tensors, as_file(about))
    with pytest.raises(UserError, match="does not hold a whole ViT"):
        models.open_file(path)


@pytest.mark.parametrize("metadata", [{}, {"class": "Nothing"}, {"class": ""}, {"class": "../vit"}])
def test_files_that_name_no_model_of_ours(metadata):
    assert not models.is_ours(metadata)
    with pytest.raises(UserError, match="not one of our model files"):
        models.read_about("m.safetensors", {**metadata, "arguments": "{}", "system": "vit"})


def test_a_class_that_is_no_text_and_parts_in_parts():
    for told in (7, None, ["CLIP"], {"class": "CLIP"}):
        with pytest.raises(UserError, match="no model class"):
            models.make(told, {})
    deep: object = 5
    for _ in range(40):
        deep = {"class": "CLIPSeg", "arguments": {"clip": deep}}
    with pytest.raises(UserError, match="expected CLIP"):
        models.build("CLIPSeg", {"clip": deep})


def test_values_of_each_type_at_their_bounds():
    def constructor(
        depth: int = 1,
        depths: tuple[int, ...] = (),
        pair: tuple[int, int] = (1, 1),
        ratio: float = 1.0,
        mean: tuple[float, ...] | None = None,
        norm_eps: float = 1e-5,
        name: str = "",
        flag: bool | None = None,
        pairs: tuple[tuple[str, str], ...] = (),
    ) -> None: ...

    def read(**values):
        return read_arguments(constructor, values, "it")

    right = {
        "depth": 0, "depths": [LARGEST - 1, 1], "pair": [0, LARGEST], "ratio": 0.0, "mean": [-1.5, LARGEST],
        "norm_eps": 1, "name": "", "flag": None, "pairs": [["a", "b"]],
    }  # fmt: skip
    expected = {
        "depth": 0, "depths": (LARGEST - 1, 1), "pair": (0, LARGEST), "ratio": 0.0, "mean": (-1.5, float(LARGEST)),
        "norm_eps": 1.0, "name": "", "flag": None, "pairs": (("a", "b"),),
    }  # fmt: skip
    assert read(**right) == expected and read(depth=LARGEST, mean=None, flag=False) == {
        "depth": LARGEST, "mean": None, "flag": False,
    }  # fmt: skip
    for wrong in [
        {"depth": -1}, {"depth": LARGEST + 1}, {"depth": None}, {"depth": True}, {"depth": "1"}, {"depth": 1.0},
        {"depths": [LARGEST, 1]}, {"depths": [-1]}, {"depths": 5}, {"depths": "12"}, {"depths": [[1]]},
        {"pair": [1]}, {"pair": [1, 1, 1]}, {"pair": []}, {"ratio": -1e-9}, {"ratio": LARGEST + 1}, {"ratio": True},
        {"mean": [-LARGEST - 1]}, {"mean": [float("nan")]}, {"mean": 0.5}, {"norm_eps": 0}, {"norm_eps": 1.1},
        {"name": 5}, {"name": None}, {"flag": 0}, {"flag": "no"}, {"pairs": [["a"]]}, {"pairs": [["a", 1]]},
        {"pairs": ["ab"]}, {"other": 1},
    ]:  # fmt: skip
        with pytest.raises(UserError):
            read(**wrong)


def test_types_that_no_file_can_tell():
    def constructor(picture: bytes, names: tuple[str, ...] = (), pairs: tuple[tuple[str, int], ...] = ()) -> None: ...

    with pytest.raises(UserError, match="picture in it is 5, which no file can tell"):
        read_arguments(constructor, {"picture": 5}, "it")
    with pytest.raises(UserError, match="it lack picture"):
        read_arguments(constructor, {}, "it")


def test_a_header_that_is_no_header(tmp_path):
    for number, header in enumerate(
        [b"", b"{", b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,' + b"9" * 4300 + b"]}}"]
    ):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
        with pytest.raises(UserError, match="cannot be read as a safetensors file"):
            models.open_file(path)
    with pytest.raises(UserError, match="cannot be read as a safetensors file"):
        models.open_file(tmp_path / "nowhere.safetensors")


def test_every_embedded_model_opens():
    for name in embedded.names():
        model = models.load(name, dtype=torch.float64)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
