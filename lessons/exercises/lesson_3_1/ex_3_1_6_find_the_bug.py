"""3.1.6  Find the bug: decoding  (10 minutes, difficulty 2 of 5)

Ids back to text. This decoder is right for English, and spoils accents,
Chinese and emojis: in their place stands the replacement character, once
for each id. One line is wrong. Repair it; bytes that really are no UTF-8
still become the replacement character.

`vocabulary` lists the symbols by id, `value` tells the byte of each visible
character (the inverse of 3.1.1).
"""


def decode(ids, vocabulary, value):
    """A list of ids, a list of symbols, {character: byte} -> the text, with a space after each word."""
    text = ""
    for token in ids:
        symbol = vocabulary[token]
        end = symbol.endswith("</w>")
        content = bytes(value[character] for character in symbol.removesuffix("</w>"))
        text += content.decode("utf-8", errors="replace") + (" " if end else "")
    return text
