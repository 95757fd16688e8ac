"""Bytes you can see  (10 minutes, difficulty 2 of 5)

CLIP's tokenizer never meets an unknown character: it works on the bytes of
the text. To keep merges readable, each of the 256 byte values is written as
one visible character:

    33 to 126, 161 to 172, 174 to 255    the character with that number
    all others, from 0 upwards           chr(256), chr(257), chr(258), ...

`byte_symbols` gives the list, indexed by the byte, like `bytes_to_unicode` in
open_clip. `word_symbols` writes a word as one symbol a byte of its UTF-8
form; the last one carries the end-of-word mark "</w>":

    "cat" -> ["c", "a", "t</w>"]
"""


# %% solution
def byte_symbols():
    """-> list of 256 strings of one character."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256)]


def word_symbols(word):
    """A word of one character or more -> list of symbols, one a byte."""
    symbols = [byte_symbols()[byte] for byte in word.encode("utf-8")]
    return [*symbols[:-1], symbols[-1] + "</w>"]


# %% check: the byte alphabet against a walk over the four ranges, symbols against that alphabet
from lessons.checker import Mistake, Task


def no_cases(random):
    yield {}


def word_cases(random):
    for word in ("cat", "a", "it's", "caf\u00e9", "na\u00efve", "\U0001f600", "\u732b", "x\u00ad", "7"):
        yield {"word": word}


def alphabet():
    symbols, extra = [], 256
    for byte in range(256):
        if 33 <= byte <= 126 or (161 <= byte and byte != 173):
            symbols.append(chr(byte))
        else:
            symbols.append(chr(extra))
            extra += 1
    return symbols


def reference(word):
    symbols = [alphabet()[byte] for byte in bytes(word, "utf-8")]
    symbols[-1] += "</w>"
    return symbols


def other_alphabet(visible=lambda b: 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b, first=256, own=False):
    hidden = [byte for byte in range(256) if not visible(byte)]
    number = {byte: first + (byte if own else at) for at, byte in enumerate(hidden)}
    return [chr(number.get(byte, byte)) for byte in range(256)]


def other_symbols(mark="last", encoding="utf-8"):
    def function(word):
        symbols = [alphabet()[byte] for byte in word.encode(encoding, "replace")]
        if mark == "last":
            return [*symbols[:-1], symbols[-1] + "</w>"]
        if mark == "each":
            return [symbol + "</w>" for symbol in symbols]
        return [*symbols, "</w>"] if mark == "own" else symbols

    return function


def printable(byte):
    return byte >= 33 and byte not in range(127, 161)


BYTE_SYMBOLS_MISTAKES = [
    Mistake("the alphabet with chr(byte) for every byte: spaces and control characters stay invisible",
            lambda: [chr(b) for b in range(256)]),
    Mistake("the alphabet with the soft hyphen (173) as visible", visible=printable),
    Mistake("the alphabet whose hidden bytes begin at chr(255)", first=255, fix="chr(256) is the first."),
    Mistake("the alphabet whose hidden bytes begin at chr(257)", first=257, fix="chr(256) is the first."),
    Mistake("the alphabet with chr(256 + byte) for hidden bytes", own=True, fix="Count the hidden ones."),
    Mistake("the alphabet with the space (32) as visible", visible=lambda b: b == 32 or (printable(b) and b != 173)),
    Mistake("the alphabet with 127 to 160 as visible", visible=lambda b: 33 <= b and b != 173),
]

WORD_SYMBOLS_MISTAKES = [
    Mistake("the symbols without the end-of-word mark", other_symbols(mark="none")),
    Mistake("the symbols with the mark as a symbol of its own", other_symbols(mark="own"),
            fix="It sticks to the last byte."),
    Mistake("the symbols with the mark on each of them", other_symbols(mark="each"),
            fix="Only the last one carries it."),
    Mistake("the characters of the word, not its bytes", lambda word: [*word[:-1], word[-1] + "</w>"],
            fix="word.encode('utf-8')."),
    Mistake("the symbols of the word in Latin-1, one byte a character", other_symbols(encoding="latin-1"),
            fix="UTF-8."),
    Mistake("the bytes as chr(byte), not as their visible symbols",
            lambda word: [*(chr(b) for b in word.encode()[:-1]), chr(word.encode()[-1]) + "</w>"]),
]

TASKS = [
    Task("byte_symbols", no_cases, reference=alphabet, flawed=other_alphabet, mistakes=BYTE_SYMBOLS_MISTAKES,
         like="bytes_to_unicode of open_clip"),
    Task("word_symbols", word_cases, reference=reference, mistakes=WORD_SYMBOLS_MISTAKES, like="one symbol a byte"),
]


# %% hints
HINTS = [
    ("`byte_symbols`: where to begin",
     "A loop over `range(256)` and a counter for the hidden ones: the next hidden byte gets `chr(256 + counter)`."),
    ("One of the numbers is wrong", "127 to 160 and 173 are hidden too; 173 is the soft hyphen."),
    ("`word_symbols` is wrong for accents",
     "`word.encode('utf-8')` gives the bytes: an accented letter has two, an emoji four."),
]
