"""WordPiece against transformers' BertTokenizer, piece by piece, on nasty strings and several vocabularies.

Not compared: letters that are younger than Python's own Unicode tables (Garay, 2024): Python cannot lower their case.
"""

import pickle
import random
import unicodedata
from contextlib import nullcontext

import pytest
import torch
from transformers import BertTokenizer

from checkpoints_convert.proof.mutants import StandIn
from minimodels.errors import UserError
from minimodels.stored.models import tokenizer_from_dict
from minimodels.words import word_piece
from minimodels.words.word_piece import (
    SPECIALS,
    WordPieceTokenizer,
    learn_words,
    longest_match,
    normalize_words,
    read_vocabulary,
    split_punctuation,
)
from tests.words.test_byte_pair import random_texts

SPECIAL_TEXTS = ["[SEP]", "x[MASK]y", "[sep]", "[CLS] ", "[PAD]", "[UNK]x", "[", "[SEP", "[[SEP]]", "[MASK][MASK]"]
KINDS = {"uncased": (True, None), "cased": (False, None), "accents kept": (True, False), "accents away": (False, True)}


def valid(text: str) -> str:
    """Without lone surrogates, which the reference cannot take."""
    return "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)


def nasty_texts(count: int) -> list[str]:
    """Random Unicode, with special pieces in it, words of 90 to 110 letters, and runs without a space."""
    rng = random.Random(5)
    texts = [valid(text) for text in random_texts(count)]
    letters = sorted({c for text in texts for c in text if not c.isspace()})
    for at in range(0, count, 4):
        texts[at] = texts[at].replace(" ", rng.choice(SPECIAL_TEXTS), 1) + rng.choice(SPECIAL_TEXTS)
        texts[at + 1] += " " + rng.choice(["a", "é", "犬", "ab"]) * rng.randint(90, 110)
        texts[at + 2] = "".join(rng.choices(letters, k=20))
    return texts


def vocabulary_of(texts: list[str], lowercase: bool, every: int) -> list[str]:
    """Some words of the texts, their letters, and some letters as continuations, so that each way out is taken."""
    rng = random.Random(every)
    words = [
        word
        for text in texts
        for word in split_punctuation(normalize_words(text, lowercase=lowercase, strip_accents=lowercase))
    ]
    letters = sorted({c for word in words for c in word})
    halves = [f"##{word[len(word) // 2 :]}" for word in words if len(word) > 3]
    pieces = [*SPECIALS, *sorted(set(words))[::2], *letters, *rng.sample(halves, len(halves) // 2)]
    pieces += [f"##{letter}" for letter in letters[::every]]
    return list(dict.fromkeys(pieces))


TEXTS = nasty_texts(800)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, tuple[WordPieceTokenizer, BertTokenizer]]:
    """Both tokenizers of one vocabulary file, another one for each kind."""
    folder, found = tmp_path_factory.mktemp("vocabularies"), {}
    for kind, (lowercase, strip_accents) in KINDS.items():
        path = folder / f"{kind}.txt"
        pieces = vocabulary_of(TEXTS[::7], lowercase, every=1 + len(found))
        path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
        ours = WordPieceTokenizer(read_vocabulary(path), lowercase, strip_accents, context_length=10_000)
        theirs = BertTokenizer(vocab=str(path), do_lower_case=lowercase, strip_accents=strip_accents)
        found[kind] = ours, theirs
    return found


def differences(ours: WordPieceTokenizer, theirs: BertTokenizer, texts: list[str]) -> list[str]:
    """The texts of which the two make different pieces, ids or rows."""
    wrong = [text for text in texts if ours.pieces(text) != theirs.tokenize(text)]
    for length in (None, 12):
        cut = {"truncation": True, "max_length": length, "padding": "max_length"} if length else {"padding": True}
        for at in range(0, len(texts), 50):
            some = texts[at : at + 50]
            expected = theirs(some, **cut, return_tensors="pt")
            ids, mask = ours(some, length, truncate=length is not None)
            if not torch.equal(ids, expected["input_ids"]) or not torch.equal(mask, expected["attention_mask"]):
                wrong.append(f"rows {at} to {at + 50}, length {length}")
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_same_pieces_as_transformers(kind, pairs):
    ours, theirs = pairs[kind]
    assert differences(ours, theirs, TEXTS) == []
    pieces = [piece for text in TEXTS for piece in ours.pieces(text)]
    assert {"[UNK]", "[SEP]", "[MASK]"} <= set(pieces) and any(piece.startswith("##") for piece in pieces)


def characters() -> list[str]:
    """Every character that Python knows; of the large blocks of Chinese, Korean and private use, every 97th."""
    large = [(0x3400, 0x9FFF), (0xAC00, 0xF8FF), (0x17000, 0x18CFF), (0x20000, 0x10FFFF)]
    codes = [code for code in range(0x110000) if code % 97 == 0 or not any(a <= code <= b for a, b in large)]
    known = [chr(code) for code in codes if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    return [c for c in known if c != "\U00011938"]  # the reference takes it apart; Unicode leaves it whole


@pytest.mark.parametrize("kind", KINDS)
def test_each_character_is_cleaned_as_the_reference_does(kind, pairs):
    """Between two letters, a few hundred a text."""
    lowercase, strip_accents = KINDS[kind]
    strip = lowercase if strip_accents is None else strip_accents
    backend, wrong, everything = pairs[kind][1].backend_tokenizer, [], characters()
    for at in range(0, len(everything), 300):
        text = " ".join(f"x{character}y" for character in everything[at : at + 300])
        expected = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
        if split_punctuation(normalize_words(text, lowercase=lowercase, strip_accents=strip)) != [
            w for w, _ in expected
        ]:
            wrong.append(text)
    assert wrong == []


def test_pairs_of_texts(pairs):
    ours, theirs = pairs["uncased"]
    for first, second in zip(TEXTS[:300], TEXTS[300:600]):
        if not second:
            continue  # transformers takes an empty second text for none
        expected = theirs(first, second)
        ids, types = ours.encode_pair(first, second)
        assert ids == expected["input_ids"] and types == expected["token_type_ids"]


def test_decoded_text(pairs):
    ours, theirs = pairs["cased"]
    for text in TEXTS[:300]:
        ids = ours.encode(text)
        assert ours.decode(ids) == " ".join(theirs.convert_ids_to_tokens(ids)).replace(" ##", "")


# ---------------------------------------------------------------- mutants: each must be told from transformers'


def _shortest_match(word, vocabulary):
    pieces, start = [], 0
    while start < len(word) <= 100:
        mark = "##" if pieces else ""
        ends = [end for end in range(start + 1, len(word) + 1) if mark + word[start:end] in vocabulary]
        if not ends:
            return ["[UNK]"]
        pieces.append(mark + word[start : ends[0]])
        start = ends[0]
    return pieces or ["[UNK]"]


def _from_the_right(word, vocabulary):
    pieces, end = [], len(word)
    while end and len(word) <= 100:
        starts = [start for start in range(end) if ("##" if start else "") + word[start:end] in vocabulary]
        if not starts:
            return ["[UNK]"]
        pieces.insert(0, ("##" if starts[0] else "") + word[starts[0] : end])
        end = starts[0]
    return pieces or ["[UNK]"]


def _keep_what_fits(word, vocabulary):
    """Only the rest is unknown."""
    pieces, start = [], 0
    while start < len(word) <= 100:
        mark = "##" if pieces else ""
        ends = [end for end in range(len(word), start, -1) if mark + word[start:end] in vocabulary]
        if not ends:
            return [*pieces, "[UNK]"]
        pieces.append(mark + word[start : ends[0]])
        start = ends[0]
    return pieces or ["[UNK]"]


def _unmarked(word, vocabulary):
    return [piece.removeprefix("##") if piece not in vocabulary else piece for piece in MATCH(word, vocabulary)]


NORMALIZE, SPLIT, CLASS, MATCH = normalize_words, split_punctuation, word_piece.unicode_class, longest_match
CHINESE = word_piece.CHINESE


def _whole_string_lowered(text, *, lowercase, strip_accents):
    text = NORMALIZE(text, lowercase=False, strip_accents=strip_accents)
    return text.lower() if lowercase else text


def _lowered_first(text, *, lowercase, strip_accents):
    return NORMALIZE(text.lower() if lowercase else text, lowercase=False, strip_accents=strip_accents)


MUTANTS = {
    "shortest match": StandIn(word_piece, "longest_match", _shortest_match),
    "matched from the right": StandIn(word_piece, "longest_match", _from_the_right),
    "only the rest unknown": StandIn(word_piece, "longest_match", _keep_what_fits),
    "words of any length": StandIn(word_piece, "MAX_WORD_LENGTH", 10_000),
    "99 letters": StandIn(word_piece, "MAX_WORD_LENGTH", 99),
    "continuations unmarked": StandIn(word_piece, "CONTINUES", ""),
    "accents kept": StandIn(
        word_piece,
        "normalize_words",
        lambda text, *, lowercase, strip_accents: NORMALIZE(text, lowercase=lowercase, strip_accents=False),
    ),
    "accents away by composed letters": StandIn(
        word_piece,
        "normalize_words",
        lambda text, *, lowercase, strip_accents: unicodedata.normalize(
            "NFC", NORMALIZE(text, lowercase=lowercase, strip_accents=strip_accents)
        ),
    ),
    "case kept": StandIn(
        word_piece,
        "normalize_words",
        lambda text, *, lowercase, strip_accents: NORMALIZE(text, lowercase=False, strip_accents=strip_accents),
    ),
    "the whole string lowered": StandIn(word_piece, "normalize_words", _whole_string_lowered),
    "lowered before accents go": StandIn(word_piece, "normalize_words", _lowered_first),
    "Chinese words together": StandIn(word_piece, "CHINESE", word_piece.regex.compile("(?!)")),
    "Google's Chinese range": StandIn(
        word_piece, "CHINESE", word_piece.regex.compile(CHINESE.pattern.replace(r"\U0002B920", r"\U0002B820"))
    ),
    "control characters as spaces": StandIn(
        word_piece,
        "normalize_words",
        lambda text, **how: NORMALIZE(" ".join("\n" if CLASS(c)[0] == "C" else c for c in text), **how),
    ),
    "punctuation kept on words": StandIn(word_piece, "split_punctuation", str.split),
    "ASCII punctuation alone": StandIn(
        word_piece, "unicode_class", lambda c: CLASS(c) if c.isascii() or CLASS(c)[0] != "P" else "So"
    ),
    "Unicode punctuation alone": StandIn(
        word_piece, "unicode_class", lambda c: unicodedata.category(c) if c.isascii() else CLASS(c)
    ),
    "the newest Unicode": StandIn(
        word_piece, "unicode_class", lambda c: unicodedata.category(c) if not c.isascii() else CLASS(c)
    ),
    "no special pieces in texts": StandIn(word_piece, "SPECIALS", ("[PAD]", "[UNK]", "[CLS]", "[PAD]")),
    "special pieces in any case": StandIn(word_piece, "SPECIALS", (*SPECIALS, "[sep]")),
}
HARD = [
    *TEXTS[:200], "ΟΔΟΣ ΣΑΣ", "İstanbul I\u0307", "한국어", "\U0002b850\U0002b851", "a\u00adb a\u200db",
    "\u08e2x\u08d4y\u2e44z", "[sep]x", "a" * 100, "a" * 101,
]  # fmt: skip


@pytest.mark.parametrize("name", [None, *MUTANTS])
def test_mutants_are_caught(name, pairs, tmp_path):
    extra = ["οδοσ", "σασ", "οδος", "istanbul", "i", "##\u0307", "[sep]", "a" * 100, "##a", "##b", "##x", "##y", "##z"]
    pieces = list(dict.fromkeys([*pairs["accents kept"][0].vocabulary, *extra]))
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    theirs = BertTokenizer(vocab=str(tmp_path / "vocab.txt"))
    with MUTANTS[name]() if name is not None else nullcontext():
        ours = WordPieceTokenizer(pieces)
        wrong = [text for text in HARD if ours.pieces(text) != theirs.tokenize(text)]
    assert bool(wrong) == (name is not None), wrong[:3]


# ---------------------------------------------------------------- by hand, and bad input

WORDS = [
    *SPECIALS,
    "play",
    "playing",
    "##ing",
    "##s",
    "un",
    "##play",
    "##able",
    "##a",
    "##b",
    "the",
    "dog",
    "!",
    "cafe",
]


def test_cut_by_hand():
    known = set(WORDS)
    assert longest_match("playing", known) == ["playing"]
    assert longest_match("plays", known) == ["play", "##s"]
    assert longest_match("unplayable", known) == ["un", "##play", "##able"]
    assert longest_match("unplayed", known) == ["[UNK]"]  # ##play fits, ##e does not: the whole word is unknown
    assert longest_match("", known) == ["[UNK]"]
    tokenizer = WordPieceTokenizer(WORDS)
    assert tokenizer.pieces("The DOG\u200b plays! Café-dog") == [
        "the",
        "dog",
        "play",
        "##s",
        "!",
        "cafe",
        "[UNK]",
        "dog",
    ]
    assert tokenizer.decode(tokenizer.encode("the dog plays!")) == "the dog plays !"
    assert tokenizer.encode_pair("dog", "the dog") == ([2, 15, 3, 14, 15, 3], [0, 0, 0, 1, 1, 1])


def test_rows_and_their_mask():
    tokenizer = WordPieceTokenizer(WORDS, context_length=6)
    ids, mask = tokenizer(["the dog plays", "", "dog"])
    assert ids.tolist() == [[2, 14, 15, 5, 8, 3], [2, 3, 0, 0, 0, 0], [2, 15, 3, 0, 0, 0]]
    assert mask.tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64
    assert tokenizer("dog", context_length=5)[0].tolist() == [[2, 15, 3, 0, 0]]
    assert tokenizer("dog")[0].shape == (1, 3)
    assert tokenizer([])[0].shape == (0, 0) and tokenizer([], context_length=4)[0].shape == (0, 4)
    padding = tokenizer("[PAD] dog")  # a [PAD] that someone wrote is a token; padding is what the mask says
    assert padding[0].tolist() == [[2, 0, 15, 3]] and padding[1].tolist() == [[1, 1, 1, 1]]


def test_a_sentence_of_500_words():
    text = "the dog plays " * 167
    bert, lavt = WordPieceTokenizer(WORDS), WordPieceTokenizer(WORDS, context_length=20, keep_end=False)
    with pytest.raises(
        UserError, match=r"'the dog .*\.\.\.' takes 670 ids, the limit is 512: shorten it or pass trunc"
    ):
        bert(text)
    with pytest.raises(UserError, match="takes 670 ids, the limit is 20"):
        lavt(text)
    ids, mask = bert(text, truncate=True)
    assert ids.shape == (1, 512) and ids[0, -1] == bert.end and mask.all()
    cut, _ = lavt(text, truncate=True)
    assert cut[0].tolist() == [2, *([14, 15, 5, 8] * 5)][:20]  # the finished list is cut: [SEP] is lost
    assert lavt(" ".join(["dog"] * 18))[0][0, -1] == lavt.end
    assert torch.equal(
        bert("the dog " * 9 + "dog", 20, truncate=True)[0][:, :19], lavt("the dog " * 10, truncate=True)[0][:, :19]
    )
    with pytest.raises(UserError, match="context_length is 1, expected at least 2"):
        bert("dog", context_length=1)


def test_lone_surrogates_vanish():
    assert WordPieceTokenizer(WORDS).pieces("d\ud83dog \udc00") == ["dog"]


def test_ids_of_another_vocabulary():
    for id in (-1, len(WORDS)):
        with pytest.raises(UserError, match=f"id {id} is outside this vocabulary of {len(WORDS)}"):
            WordPieceTokenizer(WORDS).decode([2, id])


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"these 1 lines lack \[PAD\] \[UNK\] \[CLS\] \[SEP\]"),
        (b"the\ndog\n[UNK]\n[PAD]\n", r"these 4 lines lack \[CLS\] \[SEP\]"),
        (b'{"model": {"vocab": {"[PAD]": 0}}}', "these 1 lines lack"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\rdog", "piece 5 of the vocabulary, .* holds a control character"),
        (b"\xff\xfe[\x00P\x00", "can't decode byte 0xff"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "can't decode byte"),
    ],
)
def test_a_vocabulary_file_that_is_none(content, message, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"vocab.txt cannot be used as a vocabulary: .*{message}"):
        read_vocabulary(tmp_path / "vocab.txt")


def test_missing_vocabularies(tmp_path):
    with pytest.raises(UserError, match="nowhere.txt cannot be used as a vocabulary: .*No such file"):
        read_vocabulary(tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match="cannot be used as a vocabulary"):
        read_vocabulary(tmp_path)
    with pytest.raises(UserError, match=r"lack \[SEP\]"):
        WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]"])


def test_odd_but_whole_vocabulary_files(tmp_path):
    """Windows line ends, no last line end, an empty line, a piece twice (the last one counts), no [MASK]."""
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*SPECIALS[:4], "dog", "", "é", "dog"]).encode())
    tokenizer = WordPieceTokenizer(read_vocabulary(tmp_path / "vocab.txt"))
    theirs = BertTokenizer(vocab=str(tmp_path / "vocab.txt"))
    assert tokenizer.vocab_size == 8 and tokenizer.encode("dog") == [7] == theirs.encode("dog")[1:-1]
    assert tokenizer.pieces("[MASK]") == ["[UNK]"] * 3


def test_a_vocabulary_of_words():
    words = learn_words(["The red DOG's car", "a café!", "the dog"])
    assert words == [*SPECIALS, "!", "'", "a", "cafe", "car", "dog", "red", "s", "the"]
    assert WordPieceTokenizer(words).pieces("a dog, the cars") == ["a", "dog", "[UNK]", "the", "[UNK]"]


def test_tokenizers_travel():
    """To worker processes, and through the metadata of a model's file."""
    tokenizer = WordPieceTokenizer(WORDS, context_length=9)
    again = pickle.loads(pickle.dumps(tokenizer))
    stored = tokenizer_from_dict({"kind": "wordpiece", "vocabulary": WORDS, "context_length": 9})
    for other in (again, stored):
        assert all(torch.equal(*both) for both in zip(other("the dog plays!"), tokenizer("the dog plays!")))


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(word_piece, "MAX_CACHED_WORDS", 3)
    tokenizer = WordPieceTokenizer(WORDS)
    assert [tokenizer.encode(word) for word in ("dog", "the", "!", "un", "dog")] == [[15], [14], [16], [9], [15]]
    assert len(tokenizer.cache) <= 3
