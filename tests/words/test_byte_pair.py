"""Byte pair encoding against the official numbers, against open_clip's own tokenizer, and against mutants of itself.

open_clip 3.3 spells the special tokens <start_of_text> and <end_of_text>, the released CLIP <|startoftext|> and
<|endoftext|>; everything else is the same, so ours is built with open_clip's spelling where the two are compared.
"""

import json
import pickle
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

from checkpoints_convert.proof.mutants import StandIn
from minimodels.errors import UserError
from minimodels.words import byte_pair
from minimodels.words.byte_pair import BytePairTokenizer, clip_merges, learn_merges, merges_from_text, merges_to_text

OPEN_CLIP_SPECIALS = ("<start_of_text>", "<end_of_text>")

ODD_PIECES = """
it's WE'LL y'all'd've 'S O'ſ 'ſ <ſtart_of_text> <end_of_text> <START_OF_TEXT> <|startoftext|> <|endoftext|> </w> <w>
&amp;amp; &amp;lt;b&gt; &quot; &#39; &#x27; &#128512; &amp;#38; &nbsp; &shy; &hearts &notit; &#x0; &#xD800; &#133;
schÃ¶n â€œquotesâ€ caf\u00e9 cafe\u0301 ﬁne ＦＵＬＬ ｈａｌｆ ½ ² ⁴ Ⅳ ٣ १२३ 20°C 1,000.50 covid19 naïve İstanbul
STRASSE ßß Ǆ ŉ 犬と猫 한국어 สวัสดี नमस्ते العربية עברית Ελληνικά ΣΑΣ русский 👍🏽 👨\u200d👩\u200d👧 🇫🇷
🏴\U000e0067\U000e007f ☃\ufe0f ¯\\_(ツ)_/¯ !!!??? ... … \u200b \u200d \ufeff \u00ad \u202e \ud83d \udc00 \x00 \x07
\x1b[31m \x9f \ufffd \U0010ffff \ue000 &#x1F; \u0345
""".split()
RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0x0, 0x1F), (0x7F, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x5FF),
    (0x900, 0xE7F), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x23FF), (0x2460, 0x27BF), (0x3000, 0x30FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xDFFF), (0xF900, 0xFFFF), (0x1F300, 0x1FAFF), (0x0, 0x10FFFF),
]  # fmt: skip


def random_text(rng: random.Random) -> str:
    """A text of up to 14 pieces: odd ones from the list, English words in any case, runs of one Unicode range."""
    words = ["a", "photo", "of", "The", "red", "DOG", "umbrella", "antidisestablishmentarianism", "x", "2", "2024"]
    pieces = []
    for _ in range(rng.randint(0, 14)):
        low, high = rng.choice(RANGES)
        run = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))
        pieces.append(rng.choice([rng.choice(ODD_PIECES), rng.choice(words), run]))
        pieces.append(rng.choice(["", " ", " ", " ", "\n", "\t ", "\u00a0", "\u2028", "\u3000", "\x85"]))
    return "".join(pieces)


def random_texts(count: int) -> list[str]:
    rng = random.Random(7)
    return [random_text(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def reference() -> SimpleTokenizer:
    return SimpleTokenizer()


@pytest.fixture(scope="module")
def expected(reference) -> list[tuple]:
    """Random texts with what open_clip makes of each: cleaned, ids, the ids decoded, rows with and without a cut."""
    clean, texts = get_clean_fn("lower"), random_texts(3000)
    ids = [reference.encode(text) for text in texts]
    rows = zip(reference(texts, 17), reference(texts, 77))
    return [(text, clean(text), i, reference.decode(i), *r) for text, i, r in zip(texts, ids, rows)]


def build() -> BytePairTokenizer:
    return BytePairTokenizer(byte_pair.clip_merges(), special_tokens=OPEN_CLIP_SPECIALS)


def differences(ours: BytePairTokenizer, expected: list[tuple]) -> list[str]:
    """What differs from open_clip's tokenizer."""
    found = []
    for text, cleaned, ids, decoded, row17, row77 in expected:
        if byte_pair.clean_text(text) != cleaned:
            found.append(f"cleaned {text!r}")
        if ours.encode(text) != ids:
            found.append(f"ids of {text!r}")
        if ours.decode(ids) != decoded:
            found.append(f"decoded {text!r}")
        if not torch.equal(ours(text, 17, truncate=True)[0], row17) or not torch.equal(
            ours(text, truncate=True)[0], row77
        ):
            found.append(f"rows of {text!r}")
    return found


# ---------------------------------------------------------------- the official numbers


def test_golden_strings_give_the_official_ids(root):
    cases = json.loads((root / "tests/golden/clip/tokenizer/cases.json").read_text(encoding="utf-8"))
    tokenizer = BytePairTokenizer.clip()
    assert (tokenizer.vocab_size, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    assert len(cases) == 200
    for case in cases:
        text, ids = case["text"], tokenizer.encode(case["text"])
        for length, expected in [(77, case["ids"]), (17, case["ids17"])]:
            row = tokenizer(text, context_length=length, truncate=True)
            assert row.dtype == torch.int64
            assert row[0].tolist() == expected + [0] * (length - len(expected)), text
        assert tokenizer.decode(ids[:75]) == case["decoded"]
        if case["fits"]:
            assert torch.equal(tokenizer(text), tokenizer(text, truncate=True))
        else:
            with pytest.raises(UserError, match=f"takes {case['length']} ids, the limit is 77"):
                tokenizer(text)


def test_random_unicode_equals_open_clip(expected):
    assert differences(build(), expected) == []
    everything = "".join(text for text, *_ in expected)
    for needed in ["\u0301", "\u200d", "&amp;", "👨", "犬", "\x1b", "\ud83d", "<end_of_text>"]:
        assert needed in everything, f"the random texts lack {needed!r}"


def test_one_character_alone_is_lost(reference):
    """U+0345 is a mark whose other case is a letter: with case ignored, no class of the released pattern takes it."""
    everything = [chr(code) for code in range(0x110000) if not chr(code).isspace()]
    assert set(everything) - set("".join(byte_pair.split_words(" ".join(everything)))) == {"\u0345"}
    assert reference.encode("\u0345") == BytePairTokenizer.clip().encode("\u0345") == []


def test_each_single_character_equals_open_clip(reference):
    """Every character below U+10000 and every emoji alone between letters, a few hundred a text."""
    characters = [chr(code) for code in [*range(0x10000), *range(0x1F000, 0x1FB00)]]
    texts = [
        " ".join(f"x{character}y" for character in characters[at : at + 300]) for at in range(0, len(characters), 300)
    ]
    ours = build()
    assert [text for text in texts if ours.encode(text) != reference.encode(text)] == []


# ---------------------------------------------------------------- mutants: each must be told from open_clip's tokenizer


def _latest_merge_first(self, word):
    symbols = byte_pair.word_symbols(word)
    while known := [pair for pair in pairwise(symbols) if pair in self.ranks]:
        symbols = byte_pair.merge_pair(symbols, max(known, key=self.ranks.__getitem__))
    return symbols


def _longest_match(self, word):
    symbols, rest = [], "".join(byte_pair.word_symbols(word))
    while rest:
        size = next(size for size in range(len(rest), 0, -1) if rest[:size] in self.ids)
        symbols, rest = [*symbols, rest[:size]], rest[size:]
    return symbols


def _merge_from_the_right(symbols, pair):
    merged = []
    for symbol in reversed(symbols):
        if merged and (symbol, merged[0]) == pair:
            merged[0] = symbol + merged[0]
        else:
            merged.insert(0, symbol)
    return merged


def _call(change_row):
    """The tokenizer's call with its rows changed afterwards."""
    original = BytePairTokenizer.__call__

    def call(self, texts, context_length=None, truncate=False):
        rows = original(self, texts, context_length, truncate)
        for row in rows:
            change_row(self, row)
        return rows

    return StandIn(BytePairTokenizer, "__call__", call)


def _no_end_when_cut(self, row):
    if row[-1] == self.end:
        row[-1] = self.start


def _pad_with_end(self, row):
    row[(row == self.end).int().argmax() :] = self.end


def _no_ftfy(text):
    text = text.encode("utf-8", errors="replace").decode("utf-8")  # lone surrogates are bytes for nobody
    return " ".join(UNESCAPE(UNESCAPE(text)).split()).lower()


FTFY, UNESCAPE, ESCAPE = byte_pair.ftfy.fix_text, byte_pair.html.unescape, byte_pair.regex.escape
SPLIT, SYMBOLS, PATTERN = byte_pair.split_words, byte_pair.word_symbols, byte_pair.WORD_PATTERN


def _unmarked(word):
    symbols = SYMBOLS(word)
    return [*symbols[:-1], symbols[-1].removesuffix("</w>")]


def _one_case_only(text, special_tokens=()):
    return byte_pair.regex.findall("|".join([*map(ESCAPE, special_tokens), PATTERN]), text)


def _characters_not_bytes(word):
    return SYMBOLS(word.encode("ascii", errors="replace").decode())


MUTANTS = {
    "no lower case": StandIn(byte_pair, "clean_text", lambda text: " ".join(UNESCAPE(UNESCAPE(FTFY(text))).split())),
    "unescaped once": StandIn(byte_pair, "clean_text", lambda text: " ".join(UNESCAPE(FTFY(text)).split()).lower()),
    "no ftfy": StandIn(byte_pair, "clean_text", _no_ftfy),
    "white space kept": StandIn(byte_pair, "clean_text", lambda text: UNESCAPE(UNESCAPE(FTFY(text))).lower()),
    "digits grouped": StandIn(byte_pair, "WORD_PATTERN", PATTERN.replace(r"\p{N}|", r"\p{N}+|")),
    "no contractions": StandIn(byte_pair, "WORD_PATTERN", r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"),
    "ASCII letters only": StandIn(byte_pair, "WORD_PATTERN", r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|\p{N}|[^\sa-z\p{N}]+"),
    "one case only": StandIn(byte_pair, "split_words", _one_case_only),
    "no special tokens": StandIn(byte_pair, "split_words", lambda text, special_tokens=(): SPLIT(text)),
    "no end of word": StandIn(byte_pair, "word_symbols", _unmarked),
    "characters, not bytes": StandIn(byte_pair, "word_symbols", _characters_not_bytes),
    "bytes in byte order": StandIn(byte_pair, "sorted", list),
    "latest merge first": StandIn(BytePairTokenizer, "merge_word", _latest_merge_first),
    "longest match": StandIn(BytePairTokenizer, "merge_word", _longest_match),
    "merged from the right": StandIn(byte_pair, "merge_pair", _merge_from_the_right),
    "no end of text when cut": _call(_no_end_when_cut),
    "padded with end of text": _call(_pad_with_end),
    "one merge less": StandIn(byte_pair, "clip_merges", lambda: clip_merges()[:-1]),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, expected):
    with MUTANTS[name]():
        try:
            found = differences(build(), expected[:200])
        except UserError as error:
            found = [str(error)]
    assert found, f"a tokenizer with the mistake {name!r} passed for a right one"


# ---------------------------------------------------------------- learning merges


def test_merges_of_the_paper_example_counted_by_hand():
    """Sennrich et al. 2016, algorithm 1: low 5 times, lower 2, newest 6, widest 3."""
    texts = ["low " * 5, "lower lower", "newest " * 6, "widest " * 3]
    assert learn_merges(texts, 8) == [
        ("e", "s"),  # 9, as often as (s, t</w>), which sorts later
        ("es", "t</w>"),  # 9
        ("l", "o"),  # 7
        ("e", "w"),  # 6, as often as (n, e) before it and (w, est</w>)
        ("ew", "est</w>"),  # 6
        ("n", "ewest</w>"),  # 6
        ("lo", "w</w>"),  # 5
        ("d", "est</w>"),  # 3, as often as (i, d) and (w, i)
    ]


def test_each_learned_merge_is_the_most_frequent_pair():
    """Against a second, naive count: words as strings with separators, a pair joined by replacing text."""
    rng = random.Random(3)
    texts = [" ".join("".join(rng.choices("abcde", k=rng.randint(1, 7))) for _ in range(30)) for _ in range(20)]
    merges = learn_merges(texts, 60)
    words = Counter(word for text in texts for word in text.split())
    spelled = {word: f" {' '.join(word)}</w> " for word in words}
    for merge in merges:
        counts = Counter()
        for word, text in spelled.items():
            pieces = text.split()
            for left, right in pairwise(pieces):
                counts[left, right] += words[word]
        most = max(counts.values())
        assert merge == min(pair for pair, count in counts.items() if count == most)
        pair, joined = f" {merge[0]} {merge[1]} ", f" {merge[0]}{merge[1]} "
        for word in spelled:  # twice: replace() does not see the second of two pairs that share a space
            spelled[word] = spelled[word].replace(pair, joined).replace(pair, joined)
    assert len(merges) == 60


def test_learned_merges_do_not_depend_on_the_order_of_the_texts():
    texts = ["the small dog left of the tree", "the biggest star", "a red car on the grass", "dogs, cars & stars 2"]
    assert learn_merges(texts, 40) == learn_merges(texts[::-1], 40)


def test_learning_stops_when_each_word_is_one_symbol():
    merges = learn_merges(["dog dog"], 100)
    assert merges == [("d", "o"), ("do", "g</w>")]
    assert BytePairTokenizer(merges).encode("Dog") == [513]
    assert learn_merges([], 10) == []


def test_a_tiny_tokenizer_reads_any_text_back():
    tiny = BytePairTokenizer(learn_merges(["a photo of a red car", "two dogs on the grass"], 20), context_length=32)
    assert tiny.vocab_size == 256 + 256 + 20 + 2
    for text in random_texts(300):
        text = text.replace("\u0345", "")
        assert "".join(tiny.decode(tiny.encode(text)).split()) == "".join(byte_pair.clean_text(text).split())


def test_merges_as_plain_text():
    merges = learn_merges(["é😀 a\u00a0b \u0085 café dogs dogs"], 30)
    assert merges_from_text(merges_to_text(merges)) == merges
    assert merges_from_text("") == []
    for text, number in [("a b\nab\n", 2), ("a b c\n", 1), ("a b\n\nc d\n", 2), (" a\n", 1)]:
        with pytest.raises(UserError, match=f"line {number} of the merges"):
            merges_from_text(text)


# ---------------------------------------------------------------- bad and odd input


def test_odd_texts():
    tokenizer = BytePairTokenizer.clip()
    assert tokenizer([]).shape == (0, 77)
    assert tokenizer("").tolist() == tokenizer([" \n"]).tolist() == [[49406, 49407] + [0] * 75]
    assert tokenizer.decode(tokenizer.encode("😀")) == "😀 "
    assert tokenizer.decode(torch.tensor([320, 1125])) == "a photo "
    assert tokenizer.encode("a<|endoftext|>b") == [320, 49407, 321]
    assert tokenizer.decode([127]) == "\ufffd"
    fits, too_long = " ".join(["dog"] * 75), " ".join(["dog"] * 76)
    assert tokenizer(fits)[0, -1] == tokenizer.end
    with pytest.raises(
        UserError, match=r"'dog dog dog .*\.\.\.' takes 78 ids, the limit is 77: shorten it or pass truncate"
    ):
        tokenizer(["dog", too_long])
    assert torch.equal(tokenizer(too_long, truncate=True), tokenizer(fits))
    with pytest.raises(UserError, match="context_length is 1"):
        tokenizer("dog", context_length=1)
    for id in (-1, 49408):
        with pytest.raises(UserError, match=f"id {id} is outside this vocabulary of 49408"):
            tokenizer.decode([320, id])


def test_five_thousand_new_words_are_cut_to_the_context():
    rng = random.Random(1)
    text = " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 10))) for _ in range(5000))
    tokenizer = BytePairTokenizer.clip()
    row = tokenizer(text, truncate=True)
    assert row[0, :-1].tolist() == [tokenizer.start, *tokenizer.encode(text)[:75]]
    assert row[0, -1] == tokenizer.end


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(byte_pair, "MAX_CACHED_WORDS", 3)
    tokenizer = BytePairTokenizer.clip()
    assert [tokenizer.encode(word) for word in "abcda"] == [[320], [321], [322], [323], [320]]
    assert len(tokenizer.cache) <= 3


def test_tokenizers_travel_to_worker_processes():
    tokenizer = pickle.loads(pickle.dumps(BytePairTokenizer(learn_merges(["red dog"], 3))))
    assert tokenizer.decode(tokenizer.encode("red dog")) == "red dog "


def test_clip_merges_come_without_importing_open_clip():
    code = (
        "import sys, minimodels.words.byte_pair as t; t.BytePairTokenizer.clip(); sys.exit('open_clip' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_or_changed_merges_file(monkeypatch, tmp_path):
    changed = tmp_path / "bpe.txt.gz"
    changed.write_bytes(b"not the file")
    with pytest.raises(UserError, match="its sha256 is another"):
        clip_merges(changed)
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        clip_merges(tmp_path / "nowhere.gz")
    monkeypatch.setattr(byte_pair.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install open_clip_torch"):
        byte_pair.find_clip_merges()
