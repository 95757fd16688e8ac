"""2.7.1  The longest piece that fits  (15 minutes, difficulty 2 of 5)

Cut one word as BERT does. Look for the longest piece of the vocabulary that
stands at the word's beginning, then for the longest one at the beginning of
what is left, and so on. Behind the first piece only those count that are
written with "##" in front. If at some place no piece fits, the whole word is
["[UNK]"]; so is a word of more than 100 characters. Like the WordPiece model
of the `tokenizers` library.

    word_pieces("unplayable", {"un", "##play", "##able", "##a"})
        -> ["un", "##play", "##able"]
"""


def word_pieces(word, vocabulary):
    """A word of one character or more and a set of pieces -> list of pieces."""
    raise NotImplementedError
