"""Other right answers to the exercises of lessons 3.1 and 3.2."""

import re
from collections import defaultdict

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


# ---------------------------------------------------------------- 3.1
@honest("3.1.1")
def byte_symbols():
    """As GPT-2's own code does it: two lists beside each other, then a dict."""
    visible = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    numbers, extra = visible[:], 0
    for byte in range(256):
        if byte not in visible:
            visible.append(byte)
            numbers.append(256 + extra)
            extra += 1
    table = dict(zip(visible, map(chr, numbers)))
    return [table[byte] for byte in range(256)]


@honest("3.1.1")
def word_symbols(word):
    table = byte_symbols()
    symbols = []
    for byte in word.encode():
        symbols.append(table[byte])
    symbols[-1] = symbols[-1] + "</w>"
    return symbols


@honest("3.1.2")
def merge_pair(symbols, pair):
    left, right = pair
    out = list(symbols)
    i = 0
    while i < len(out) - 1:
        if out[i] == left and out[i + 1] == right:
            out[i : i + 2] = [left + right]
        i += 1
    return out


@honest("3.1.3")
def bpe(word, merges):
    """Every learned pair in turn, the earliest first, each over the whole word."""
    symbols = list(word[:-1]) + [word[-1] + "</w>"]
    for left, right in merges:
        i = 0
        while i < len(symbols) - 1:
            if (symbols[i], symbols[i + 1]) == (left, right):
                symbols[i : i + 2] = [left + right]
            i += 1
    return symbols


@honest("3.1.3")
def bpe__one_place_at_a_time(word, merges):
    symbols = list(word[:-1]) + [word[-1] + "</w>"]
    while True:
        best = None
        for i in range(len(symbols) - 1):
            if (symbols[i], symbols[i + 1]) in merges:
                rank = merges.index((symbols[i], symbols[i + 1]))
                if best is None or rank < best[0]:
                    best = (rank, i)
        if best is None:
            return tuple(symbols)
        symbols[best[1] : best[1] + 2] = [symbols[best[1]] + symbols[best[1] + 1]]


@honest("3.1.4")
def learn_merges(words, num_merges):
    pieces = [(list(word[:-1]) + [word[-1] + "</w>"], count) for word, count in words.items()]
    merges = []
    for _ in range(num_merges):
        counts = defaultdict(int)
        for symbols, count in pieces:
            for left, right in zip(symbols, symbols[1:]):
                counts[left, right] += count
        if len(counts) == 0:
            break
        best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0]
        merges.append(best)
        for symbols, _ in pieces:
            i = 0
            while i + 1 < len(symbols):
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i] += symbols.pop(i + 1)
                i += 1
    return merges


@honest("3.1.5")
def to_context(ids, start, end, context_length):
    kept = torch.tensor([start, *ids, end])
    if len(kept) > context_length:
        kept = kept[:context_length]
        kept[-1] = end
    return F.pad(kept, (0, context_length - len(kept)))


@honest("3.1.6")
def decode(ids, vocabulary, value):
    text = "".join(vocabulary[i] for i in ids)
    pieces = re.split(r"(</w>)", text)
    out = bytearray()
    for piece in pieces:
        out += b" " if piece == "</w>" else bytes([value[character] for character in piece])
    return out.decode("utf-8", "replace")


# ---------------------------------------------------------------- 3.2
@honest("3.2.1")
def pool_end_of_text(tokens, ids):
    place = ids.argmax(dim=1).view(-1, 1, 1).expand(-1, 1, tokens.shape[2])
    return tokens.gather(1, place).squeeze(1)


@honest("3.2.1")
def pool_end_of_text__one_hot(tokens, ids):
    chosen = F.one_hot(ids.argmax(dim=1), ids.shape[1]).to(tokens.dtype)
    return torch.einsum("tn,tnd->td", chosen, tokens)


@honest("3.2.2")
def clip_logits(image, text, logit_scale):
    image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
    rows = [[logit_scale.exp() * (picture * words).sum() for words in text] for picture in image]
    return {"logits": torch.stack([torch.stack(row) for row in rows]), "image": image, "text": text}


@honest("3.2.3")
def embed_text(ids, token_table, pos):
    n = ids.size(1)
    return F.one_hot(ids, len(token_table)).to(pos.dtype) @ token_table + pos.narrow(0, 0, n).unsqueeze(0)


@honest("3.2.4")
def image_embedding(tokens, norm_weight, norm_bias, projection):
    """Every token is normalised and projected, then the class token's answer is taken: wasteful and right."""
    return (F.layer_norm(tokens, norm_weight.shape, norm_weight, norm_bias) @ projection)[:, 0]


@honest("3.2.5")
def text_tower(ids, parts):
    """Stops at the last end of text for the embedding, as the project's own tower does; the steps are given whole."""
    place = torch.arange(ids.shape[1])
    x = embedded = parts["token_table"][ids] + parts["pos"][place]
    for block in parts["blocks"]:
        x = block(x, place[None, :] <= place[:, None])
    encoded = parts["norm"](x)
    ends = (ids == ids.amax(dim=1, keepdim=True)).int().argmax(dim=1)
    embedding = torch.cat([encoded[t, end][None] @ parts["projection"] for t, end in enumerate(ends.tolist())])
    return {"embedded": embedded, "encoded": encoded, "embedding": embedding}
