"""A BiomedCLIP's folder whole: pictures, texts and answers as open_clip's on the same folder; there and back."""

import copy
import json

import open_clip
import pytest
import torch

from checkpoints_convert import export
from checkpoints_convert.__main__ import main
from checkpoints_convert.load import load
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.tables import biomedclip
from minimodels.errors import UserError
from minimodels.stored import models
from tests.systems.biomedclip.small import CONFIG, PIECES, build, pubmed, save, write_words  # noqa: F401 (a fixture)
from tests.systems.clip.test_configs import noise_picture

pytestmark = pytest.mark.usefixtures("pubmed")
TEXTS = [
    "chest X-ray: pneumonia, cardiomyopathy!",
    "  Café\tCAFÉ &amp;amp; lungs ",
    "猫 x🫀ray 🙂",
    "",
    "the [SEP] the sep [PAD] a [MASK]",
    "show cell " * 40,
    "\u200bheart\u00a0s\ufffd \ud83d",
]


@pytest.fixture
def folder(tmp_path):
    """With the weights in a pickle and the counter of older files, as the published one."""
    theirs = save(CONFIG, tmp_path)
    tensors = dict(theirs.state_dict()) | {"text.transformer.embeddings.position_ids": torch.arange(40)[None]}
    torch.save(tensors, tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_model.safetensors").unlink()
    return tmp_path


@pytest.mark.parametrize("size", [(160, 160), (64, 300), (333, 217), (7, 500)])
def test_the_whole_path_beside_open_clips(folder, size):
    """One folder, two libraries: the pixels and ids to the bit, the answers to round-off."""
    theirs, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenize, ours, picture = open_clip.get_tokenizer(f"local-dir:{folder}"), load(folder), noise_picture(*size)
    image, ids = preprocess(picture)[None], tokenize(TEXTS)
    assert torch.equal(ours.preprocess(picture), image[0])
    assert torch.equal(ours.tokenize(TEXTS, truncate=True), ids)
    ours, theirs = ours.double(), theirs.double().eval()  # BERT has dropout
    with torch.inference_mode():
        features = theirs.encode_image(image.double(), normalize=True) @ theirs.encode_text(ids, normalize=True).T
        assert difference(ours(image.double(), ours.trim(ids)), theirs.logit_scale.exp() * features) <= 1e-10


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"tokenizer_kwargs": {"strip_sep_token": True}},
        {"tokenizer_mode": "clips"},
        {"context_length": 7},
        {"context_length": 40},
    ],
    ids=str,
)
@pytest.mark.parametrize("lowercase", [True, False])
def test_rows_as_open_clip_frames_them(told, lowercase, folder):
    config = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], **told}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    write_words(folder, do_lower_case=lowercase, bos_token="[unused0]", eos_token="[unused1]")
    expected = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    assert torch.equal(load(folder).tokenize(TEXTS, truncate=True), expected)


def test_special_ids_come_from_the_vocabulary(folder):
    """In PubMedBERT's vocabulary they are others than in BERT's: here they lie at the end."""
    moved = ["[PAD]", *PIECES[5:], *PIECES[1:5]]
    write_words(folder, moved)
    expected = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    ours = load(folder).tokenize
    assert torch.equal(ours(TEXTS, truncate=True), expected) and ours("the")[0, 0] == moved.index("[CLS]") > 20


def test_a_context_that_open_clip_takes_where_none_is_told(folder):
    config = copy.deepcopy(CONFIG)
    del config["text_cfg"]["context_length"]  # 77, and the table has 40
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(UserError, match="context_length in .* is 77: the tower has 40"):
        load(folder)


@pytest.mark.parametrize(
    "told, words",
    [
        ({"tokenizer_mode": "moon"}, 'tokenizer_mode in .* is "moon"'),
        ({"tokenizer_kwargs": {"clean": "canonicalize"}}, 'clean in tokenizer_kwargs in .* is "canonicalize"'),
        ({"hf_tokenizer_name": ""}, "it knows 32 ids, OpenAI's tokenizer"),
    ],
)
def test_tokenizers_that_are_not_here(told, words, folder):
    """The model converts; who asks it for a text is told."""
    config = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], **told}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = load(folder)
    with pytest.raises(UserError, match=f"texts cannot be read: {words}"):
        model.tokenize("a lung")


def test_without_its_words(folder):
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer_config.json").unlink()
    model = load(folder)
    with pytest.raises(UserError, match="this BiomedCLIP's texts cannot be read: place vocab.txt of .*BiomedBERT"):
        model.tokenize("a lung")


@pytest.mark.parametrize("count", [5, 28, 33, 400])
def test_a_vocabulary_of_the_wrong_size(count, folder, capsys):
    pieces = [*PIECES, *(f"word{n}" for n in range(500))][:count]
    write_words(folder, pieces)
    assert main(["convert", str(folder), str(folder / "ours.safetensors")]) == 2
    told = capsys.readouterr().err.strip()
    assert f"vocab.txt has {count} pieces, this BiomedCLIP 32 rows for them" in told and "\n" not in told
    assert not (folder / "ours.safetensors").exists()
    write_words(folder, PIECES[:29])  # some rows may have no piece, as PubMedBERT's
    assert load(folder).tokenize("a lung")[0, 0] == 2


def test_there_and_back(folder):
    """open_clip's names, ours in a file of ours, and open_clip's again: the same tensors, taken strictly."""
    ours = load(folder)
    models.save(folder / "ours.safetensors", ours, ours.about)
    again = models.open_file(folder / "ours.safetensors")
    assert torch.equal(again.tokenize(TEXTS, truncate=True), ours.tokenize(TEXTS, truncate=True))
    tensors, theirs = export(again, "open_clip"), build(CONFIG)
    assert tensors.keys() == theirs.state_dict().keys()
    theirs.load_state_dict(tensors, strict=True)
    ids = ours.tokenize(TEXTS, truncate=True)
    with torch.inference_mode():
        assert difference(again.double().encode_text(ids), theirs.double().eval().encode_text(ids)) <= 1e-10


@pytest.mark.parametrize("command", ["inspect", "convert", "export"])
def test_the_commands_on_a_genuine_folder(command, folder, capsys):
    more = {"inspect": [], "convert": [str(folder / "ours.safetensors")]}
    more["export"] = ["open_clip", str(folder / "theirs.safetensors")]
    if command == "export":
        main(["convert", str(folder), str(folder / "ours.safetensors")])
    place = folder / "ours.safetensors" if command == "export" else folder
    assert main([command, str(place), *more[command]]) == 0, capsys.readouterr()
    said = capsys.readouterr()
    assert "biomedclip" in (said.out + said.err).lower()


def test_a_picture_is_asked_about_words(folder, capsys):
    from minimodels.__main__ import main as ask

    noise_picture(100, 140).save(folder / "p.png")
    words = ["lung", "heart cell", "--template", "this is an image of {}", "--template", "{} presented in image"]
    assert ask(["zero-shot", str(folder / "p.png"), *words, "--model", str(folder), "--json"]) == 0
    answer = capsys.readouterr()
    assert "heart cell" in answer.out, answer.err
    write_words(folder, PIECES[:9])
    assert ask(["zero-shot", str(folder / "p.png"), *words, "--model", str(folder)]) == 2
    assert "has 9 pieces, this BiomedCLIP 32 rows" in capsys.readouterr().err


def test_the_catalogue_knows_it():
    entry = biomedclip.ENTRIES[0]
    assert entry.weights.sha256 is None  # a copy's is known, the original's is not: recorded at the first download
    assert {"vocab.txt", "open_clip_config.json"} <= {file.name for file in entry.files}
