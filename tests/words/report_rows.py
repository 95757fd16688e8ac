"""Rows of the parity report: our tokenizers beside the libraries' own, on texts of random Unicode."""

from tests.words import test_byte_pair, test_word_piece


def byte_pair() -> tuple[list[str], str]:
    """Against open_clip's tokenizer: cleaned text, ids, rows, decoded text."""
    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    reference, clean, texts = SimpleTokenizer(), get_clean_fn("lower"), test_byte_pair.random_texts(3000)
    ids = [reference.encode(text) for text in texts]
    rows = zip(reference(texts, 17), reference(texts, 77))
    expected = [(text, clean(text), i, reference.decode(i), *r) for text, i, r in zip(texts, ids, rows)]
    return test_byte_pair.differences(test_byte_pair.build(), expected), "3,000 texts of random Unicode"


def word_piece() -> tuple[list[str], str]:
    """Nasty texts against transformers' BertTokenizer, cased and uncased: pieces, ids, rows and masks."""
    from transformers import BertTokenizer

    from minimodels.words.word_piece import WordPieceTokenizer

    texts, wrong = test_word_piece.TEXTS, []
    for lowercase in (True, False):
        pieces = test_word_piece.vocabulary_of(texts[::7], lowercase, every=2)
        ours = WordPieceTokenizer(pieces, lowercase, context_length=10_000)
        theirs = BertTokenizer(vocab={piece: id for id, piece in enumerate(pieces)}, do_lower_case=lowercase)
        wrong += test_word_piece.differences(ours, theirs, texts)
    return wrong, f"{len(texts)} texts of random Unicode, two vocabularies"


ROWS = [
    ("tokenizer", "open_clip", byte_pair, "minimodels/words/byte_pair.py"),
    ("WordPiece", "transformers", word_piece, None),
]
