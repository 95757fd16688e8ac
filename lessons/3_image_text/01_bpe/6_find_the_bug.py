"""Find the bug: decoding  (10 minutes, difficulty 2 of 5)

Ids back to text. This decoder is right for English, and spoils accents,
Chinese and emojis: in their place stands the replacement character, once
for each id. One line is wrong. Repair it; bytes that really are no UTF-8
still become the replacement character.

`vocabulary` lists the symbols by id, `value` tells the byte of each visible
character (the inverse of 3.1.1).
"""


# %% given: with its bug
def decode(ids, vocabulary, value):
    """A list of ids, a list of symbols, {character: byte} -> the text, with a space after each word."""
    text = ""
    for token in ids:
        symbol = vocabulary[token]
        end = symbol.endswith("</w>")
        content = bytes(value[character] for character in symbol.removesuffix("</w>"))
        text += content.decode("utf-8", errors="replace") + (" " if end else "")
    return text


# %% solution
def decode(ids, vocabulary, value):
    content = b""
    for token in ids:
        symbol = vocabulary[token]
        end = symbol.endswith("</w>")
        content += bytes(value[character] for character in symbol.removesuffix("</w>"))
        content += b" " if end else b""
    return content.decode("utf-8", errors="replace")


# %% check: decoded texts against the texts that were encoded
from lessons.checker import Mistake, Task


def alphabet():
    symbols, extra = [], 256
    for byte in range(256):
        if 33 <= byte <= 126 or (161 <= byte and byte != 173):
            symbols.append(chr(byte))
        else:
            symbols.append(chr(extra))
            extra += 1
    return symbols


SYMBOLS = alphabet()
MERGED = ["ca", "ph", "oto</w>", SYMBOLS[0xC3] + SYMBOLS[0xA9] + "</w>", "caf", "t</w>"]
VOCABULARY = [*SYMBOLS, *(symbol + "</w>" for symbol in SYMBOLS), *MERGED]
VALUE = {symbol: byte for byte, symbol in enumerate(SYMBOLS)}
TEXTS = ["cat", "a cat", "caf\u00e9", "na\u00efve caf\u00e9", "\u732b", "a \U0001f600 !", "\u00fcber", "</w"]


def encode(text):
    """One id a byte; the last byte of a word has the id of its marked symbol."""
    ids = []
    for word in text.split():
        data = word.encode("utf-8")
        ids += [*data[:-1], 256 + data[-1]]
    return ids


def cases(random):
    for text in TEXTS:
        yield {"ids": encode(text), "vocabulary": VOCABULARY, "value": VALUE}
    yield {"ids": [512, 517, 513, 514, 516, 515], "vocabulary": VOCABULARY, "value": VALUE}
    yield {"ids": [0xC3, 256 + 0x41, 0xF0], "vocabulary": VOCABULARY, "value": VALUE}  # no UTF-8
    yield {"ids": [], "vocabulary": VOCABULARY, "value": VALUE}


def reference(ids, vocabulary, value):
    data = []
    for token in ids:
        symbol = vocabulary[token]
        body, mark, _ = symbol.partition("</w>") if len(symbol) > 4 and symbol.endswith("</w>") else (symbol, "", "")
        data += [value[character] for character in body] + ([32] if mark else [])
    return bytes(data).decode("utf-8", "replace")


def each_symbol(ids, vocabulary, value):
    text = ""
    for token in ids:
        symbol = vocabulary[token]
        content = bytes(value[character] for character in symbol.removesuffix("</w>"))
        text += content.decode("utf-8", errors="replace") + (" " if symbol.endswith("</w>") else "")
    return text


def flawed(ids, vocabulary, value, codec="utf-8", errors="replace", space=" ", finish=lambda text: text):
    symbols = [vocabulary[token] for token in ids]
    data = b"".join(
        bytes(value[c] for c in s.removesuffix("</w>")) + (space.encode() if s.endswith("</w>") else b"")
        for s in symbols
    )
    return finish(data.decode(codec, errors=errors))


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", each_symbol),
    Mistake("the text read as Latin-1: one character a byte", codec="latin-1", fix="UTF-8, over all bytes at once."),
    Mistake("the text with broken bytes left out instead of replaced", errors="ignore"),
    Mistake("the text without spaces between words", space=""),
    Mistake("the text without the space at its end", finish=str.strip, fix="Each word is followed by a space."),
    Mistake("the visible characters themselves, joined, not the bytes they stand for",
            lambda ids, vocabulary, value: "".join(vocabulary[i] for i in ids).replace("</w>", " ")),
]

TASKS = [
    Task("decode", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="the text that was encoded"),
]


# %% hints
HINTS = [
    ("Where to look", "How many bytes has one Chinese character, and how many symbols may they be spread over?"),
    ("Try it small", "Decode the two symbols of one accented letter alone: each is half a character."),
    ("The idea", "Collect the bytes of all ids first, and decode once at the end. A space is a byte, too: b' '."),
]
