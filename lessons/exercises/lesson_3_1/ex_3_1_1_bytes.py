"""3.1.1  Bytes you can see  (10 minutes, difficulty 2 of 5)

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


def byte_symbols():
    """-> list of 256 strings of one character."""
    raise NotImplementedError


def word_symbols(word):
    """A word of one character or more -> list of symbols, one a byte."""
    raise NotImplementedError
