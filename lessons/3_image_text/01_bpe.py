"""BPE: how a text becomes numbers

A network reads vectors, looked up by number. Which pieces of text get a number? Words are too many and new ones come every day; letters are
few, but make sentences endless. You learn the pieces in between from five sentences, then open the 48,894 merges that every CLIP uses, and
find out what they cannot tell apart.

nav: BPE
minutes: 20
paper: [Sennrich et al. 2016](https://arxiv.org/abs/1508.07909), section 3.2; [Radford et al. 2021](https://arxiv.org/abs/2103.00020), section 2.4
code: minimodels/words/byte_pair.py
"""

# %% [markdown]
# ## Start from bytes: nothing is unknown
#
# Every text in a computer is a sequence of bytes (UTF-8), and there are only 256 of them. An English letter is one byte, an accent two, a
# Chinese character three, an emoji four or more. A vocabulary that contains all bytes can write everything down, including words, names and
# signs that nobody has thought of yet:

# %%
for text in ["cat", "café", "猫", "🦊"]:
    values = list(text.encode("utf-8"))
    print(f"characters {len(text)}, bytes {len(values)}:", *values)

# %% [markdown]
# To keep the pieces readable, each byte is written as one visible character, and the last one of a word gets a mark, `</w>`:
#
# ::source minimodels.words.byte_pair.word_symbols nodoc

# %%
from minimodels.words.byte_pair import word_symbols

for word in ["cat", "café", "🦊"]:
    print(" ".join(word_symbols(word)))

# %% [markdown]
# The odd letters stand for the bytes that no English letter uses; "Ã©" is what two bytes of an "é" look like one by one. You have seen them
# on broken web pages.
#
# ## Learn what belongs together
#
# Byte pair encoding (Sennrich et al. 2016, algorithm 1) starts with these symbols and does one thing, again and again: **count all pairs of
# neighbours, and make the most frequent pair one new symbol.** Here is a world of five sentences:
#
# ::predict answer="at|a t|at</w>|a t</w>|a,t"
#     Which two neighbours become the first new symbol?
#
#     ---
#     `a` and `t</w>`, {=first_count} times: the end of cat, fat, sat, hat, mat and that. Mind the `</w>`: an "at" inside a word, as in
#     "late", would be another pair.

# %%
from collections import Counter
from itertools import pairwise

from minimodels.words.byte_pair import learn_merges, merge_pair, split_words

sentences = ["a cat on a mat", "a fat cat", "the cat sat on the hat",
             "a hat on a cat", "that cat is fat"]
counts = Counter(word for text in sentences for word in split_words(text))
words = {word: word_symbols(word) for word in counts}
times, merges = [], []
for number in range(1, 9):
    pairs = Counter()
    for word, symbols in words.items():
        for pair in pairwise(symbols):
            pairs[pair] += counts[word]          # as often as the word occurs
    best = min(pairs, key=lambda pair: (-pairs[pair], pair))
    words = {word: merge_pair(symbols, best)
             for word, symbols in words.items()}
    merges.append(best)
    times.append(pairs[best])
    now = "   ".join(" ".join(words[w]) for w in ("cat", "that", "the"))
    print(f"{number}  {' + '.join(best):10} {times[-1]:2} times    {now}")
first_count = times[0]
print("the same as learn_merges:", merges == learn_merges(sentences, 8))

# %% [markdown]
# Frequent words become whole quickly; rare ones stay in pieces. Nobody told it what a word, a stem or an ending is. The two functions at
# work, from the library:
#
# ::source minimodels.words.byte_pair.merge_pair nodoc
#
# ::source minimodels.words.byte_pair.learn_merges nodoc fold="learn_merges"
#
# ## Use what was learned
#
# A new word is taken apart into bytes, and the merges are applied **in the order in which they were learned**: of all known pairs of
# neighbours the earliest goes first, until none is known.
#
# ::source minimodels.words.byte_pair.BytePairTokenizer.merge_word nodoc
#
# None of the following words was in the five sentences:

# %%
from minimodels.words.byte_pair import BytePairTokenizer

small = BytePairTokenizer(merges)
for word in ["bat", "catch", "chat", "thathat"]:
    print(f"{word:8}", " ".join(small.merge_word(word)))
print(f"vocabulary: 256 + 256 + {len(merges)} + 2 = {small.vocab_size}")

# %% [markdown]
# "bat" profits from the cats, "catch" does not: its "at" does not end a word. The vocabulary is simple: 256 bytes, 256 bytes that
# end a word, one symbol a merge, and two special tokens for start and end of text. A symbol's place in this list is its id.
#
# Order is not a detail. Take the merges of "a b" and "b c" and the word "abc": the first one learned leaves nothing for the second.
# Looking for the longest known piece instead gives other ids for some words, and a model trained on the one does not know the other.
#
# ## CLIP's merges
#
# CLIP's were learned once, by OpenAI, and never changed since. The file comes with `open_clip_torch`; we read it without
# importing that package.

# %%
clip = BytePairTokenizer.clip()
print(f"{len(clip.merges):,} merges, {clip.vocab_size:,} ids")
print("first:", ", ".join(map(" + ".join, clip.merges[:6])))
print("last: ", ", ".join(map(" + ".join, clip.merges[-3:])))

# %%
captions = [
    "a photo of a labradoodle catching a frisbee",
    "two children feeding ducks beside a frozen pond",
    "The Eiffel Tower at night, seen from the Seine",
    "an x-ray of a broken scaphoid",
    "a red double-decker bus on Westminster Bridge",
]


def pieces(text, tokenizer=clip):
    """The symbols of a text, with a space between them."""
    return " ".join(tokenizer.vocabulary[id] for id in tokenizer.encode(text))


for text in captions:
    print(pieces(text))
known = len(clip.encode("scaphoid"))

# %% [markdown]
# Common words are one symbol. The dog breed is two, and the small bone of the wrist is {=known}: rare in the corpus, not unknown. How much do
# the merges save? Keep the first $n$ of them only:

# %% alt="Ids per caption against the number of merges kept, logarithmic. Without merges there are about four times as many ids as words. The curve falls steeply at first, more slowly later, and ends just above the number of words, drawn as a dashed line." caption="Five captions, tokenized with the first n of CLIP's merges."
import matplotlib.pyplot as plt

kept = [0, 30, 100, 300, 1000, 3000, 10000, 30000, len(clip.merges)]
lengths = []
for count in kept:
    part = BytePairTokenizer(clip.merges[:count])
    lengths.append(sum(len(part.encode(t)) for t in captions) / len(captions))
split = sum(len(split_words(text)) for text in captions) / len(captions)
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
axis.plot(kept, lengths, marker="o", label="ids")
axis.axhline(split, linestyle="--", color="gray", label="words and signs")
axis.set_xscale("symlog", linthresh=30)
axis.set_xticks([0, 100, 1000, 10000], ["0", "100", "1,000", "10,000"])
axis.minorticks_off()
axis.set_xlim(-5, 70_000)
axis.set_ylim(0)
axis.set_xlabel("merges kept")
axis.set_ylabel("ids per caption")
axis.legend()
plt.show()

# %% [markdown]
# From {=lengths[0]:.0f} ids a caption to {=lengths[-1]:.1f}, close to the {=split:.1f} words and signs. Attention compares every token with
# every other ([[2.1]]), so a sequence about a quarter as long costs about a sixteenth there. That is what a vocabulary buys.
#
# ## Why `</w>`?
#
# ::predict
#     Leave out the mark. "the rapist" and "therapist": would a network still see a difference?
#
#     ---
#     Only by luck. Spaces are thrown away when words are split; without the mark `the` + `rapist` could be two words or two
#     pieces of one. The mark is the space.

# %%
for text in ["a part", "apart", "the rapist", "therapist", "cat bird",
             "catbird", "labra doodle", "labradoodle"]:
    ids = clip.encode(text)
    print(f"{text:13} {pieces(text):28} {ids}")

# %% [markdown]
# "cat" as a word and "cat" as the beginning of a longer word are two symbols with two vectors. Decoding is then plain: write the
# symbols one after the other and put a space for each `</w>`. GPT-2 marks the other side, a space *before* a word; the idea is the same.
#
# ## What gets lost
#
# Before any merge the text is cleaned, and cut into words, by these lines:
#
# ::source minimodels.words.byte_pair.clean_text nodoc
#
# ::source minimodels.words.byte_pair.WORD_PATTERN
#
# Each choice has a price. Below each text its symbols, and then what the ids still tell:

# %%
examples = {
    "case": ["US and us", "Polish sausage, polish it"],
    "digits": ["1999", "3,000,000 bees"],
    "spaces": ["a  cat\n on a    mat"],
    "html": ["cat &amp; dog", "caf&eacute; &lt;3"],
    "emoji": ["🦊", "👩‍🚀"],
    "repair": ["cafÃ©"],
}
for kind, several in examples.items():
    for text in several:
        print(f"{kind:7} {text!r}")
        print(f"        {pieces(text)}")
        print(f"        {clip.decode(clip.encode(text))!r}")
million = len(clip.encode("3,000,000"))

# %% [markdown]
# - **Case is folded.** "US" and "us" get the same id, and no later layer can tell them apart again.
# - **Digits stand alone.** Every number can be written, none is a word of its own: 3,000,000 costs {=million} ids, and that it is a large
#   number has to be learned from a row of digits.
# - **White space is one space.** The layout of a text is gone; decoding puts a space after each piece that ends a word ("3 , 0 0 0").
# - **Html entities are resolved**, twice, because captions from the web were often escaped twice; `ftfy` repairs letters that
#   were decoded wrongly ("Ã©").
# - **Emoji are bytes.** They survive, in pieces that mean nothing alone. So does every script, but not at the same price:

# %%
dogs = {"English": "the dog sleeps on the sofa",
        "German": "der Hund schläft auf dem Sofa",
        "Greek": "ο σκύλος κοιμάται στον καναπέ",
        "Japanese": "犬がソファで寝ている",
        "Hindi": "कुत्ता सोफे पर सो रहा है"}
from lessons.book.diagrams import Table, show

show(Table(["language", "characters", "ids"], [
    [name, str(len(text)), str(len(clip.encode(text)))]
    for name, text in dogs.items()]))
dear = len(clip.encode(dogs["Greek"])) / len(clip.encode(dogs["English"]))

# %% [markdown]
# The same sentence in Greek costs {=dear:.0f} times as many ids as in English: the merges were learned where English was frequent.
#
# ## A row of 77
#
# The text tower reads rows of a fixed length, 77 in CLIP: start of text, the ids, end of text, then zeros. The last token matters most: the
# embedding of the whole caption is read at *end of text* ([[3.2]]). So a text that is too long is cut, and its last id is still end of text:

# %%
from minimodels.errors import UserError

print("a row of 6:", clip(["a cat"], context_length=6)[0].tolist())
long_text = "a very " * 50 + "angry cat"
try:
    clip(long_text)
except UserError as error:
    print("error:", error)
row = clip(long_text, truncate=True)[0]
print("length", len(row), " last id", row[-1].item(), " end", clip.end)
print("the cat is there:", clip.encode("cat")[0] in row.tolist())

# %% [markdown]
# What is cut off is gone without a trace: this caption has lost its cat. Libraries differ in what they do unasked: open_clip cuts in silence,
# the OpenAI package raises an error, ours too. Put what matters first.
#
# ::quiz
#     id 0 fills the row behind the text. What is id 0 in CLIP's vocabulary?
#
#     - [ ] A special padding token :: CLIP has none.
#     - [x] The byte of "!" inside a word :: The tower never looks there: it is causal, and reads its answer at end of text.
#     - [ ] End of text :: That is the last id. transformers' CLIPTokenizer pads with that one; the answers are the same.
#
# ## Equal to open_clip's
#
# Now the reference, imported here and nowhere in our models. All texts of this page, and 300 random strings from many scripts with odd
# spaces, signs and entities, must give the same rows:

# %%
import random

import open_clip

reference = open_clip.SimpleTokenizer()
dice = random.Random(0)
ranges = [(32, 127), (160, 384), (0x370, 0x3FF), (0x400, 0x500),
          (0x900, 0x980), (0x3040, 0x3100), (0x4E00, 0x4F00),
          (0x1F300, 0x1F600)]
odd = ["&amp;", "&lt;", "\n", "  ", "'s", "'LL", "1", "77", "</w>", "\u200d"]


def random_text():
    """Ten to forty characters from all over, and odd pieces between."""
    parts = [chr(dice.randrange(*dice.choice(ranges)))
             if dice.random() < 0.7 else dice.choice(odd)
             for _ in range(dice.randrange(10, 40))]
    return "".join(parts).replace("\u0345", "")   # see below


texts = [*sentences, *captions, *dogs.values(), long_text]
texts += [text for several in examples.values() for text in several]
texts += [random_text() for _ in range(300)]
ours, theirs = clip(texts, truncate=True), reference(texts)
same = (ours == theirs).all(dim=1)
print(f"{int(same.sum())} of {len(texts)} rows are equal")

# %% [markdown]
# One character is left out of the random strings: the Greek iota subscript U+0345 counts as a mark, falls through CLIP's pattern, and is
# lost in both. The one thing that is spelled differently is a special token inside a text: `<|endoftext|>` here and in OpenAI's code,
# `<end_of_text>` in open_clip.
#
# ## Write it yourself
#
# Bytes, one merge, the loop, the learning, the row; and a decoder to repair.
#
# ::exercises
#
# ## What can go wrong
#
# | symptom | cause |
# |---|---|
# | common words in several pieces | `</w>` forgotten, or put on every symbol |
# | a few words get other ids than the reference | merges applied by length or from left to right, not in the order learned |
# | `aaa` gives other symbols | merged pairs overlap: after `aa` the next one starts behind it |
# | accents and emoji come back as `�` | bytes decoded id by id; join all bytes first |
# | all ids off by a constant | the byte symbols in another order, or the file's first line taken for a merge |
# | a long caption gives a strange embedding | cut without end of text in its last place |
# | no match for "NASA" | the text was not lower-cased: none of CLIP's merges contains a capital A to Z |
#
# ## The paper, and the same lines in the libraries
#
# Sennrich et al. 2016, algorithm 1, is our `learn_merges`, on letters; Radford et al. 2019 (GPT-2, section 2.2) put bytes in their place.
# Radford et al. 2021, section 2.4, describe CLIP's: lower case, a vocabulary of 49,152 and at most 76 tokens, while the released code has
# 49,408 ids and 77 places. The released weights decide.
#
# In **open_clip** it is `SimpleTokenizer`: its `bpe` is our `merge_word`, `bytes_to_unicode` our `byte_symbols`, its call ours with
# `truncate=True`. In **transformers** `CLIPTokenizer` gives the same ids for ordinary text and a mask of the places that are filled. The
# fast `tokenizers` library has the loop in Rust, as `models.BPE` with `end_of_word_suffix="</w>"`.
