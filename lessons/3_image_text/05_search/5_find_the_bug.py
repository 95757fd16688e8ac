"""Find the bug: recall with five captions a picture  (10 minutes, difficulty 3 of 5)

Photograph collections have several captions for each picture, and
image-to-text recall@k is the share of pictures of which at least one own
caption is among the k best. This function gives numbers between 0 and 1,
plausible ones, and they are wrong. One line. `picture_of_text` tells for
each caption the number of its picture.
"""

import torch


# %% given: with its bug
def image_to_text_recall(similarity, picture_of_text, k):
    """similarity (P pictures, T texts), picture_of_text (T) -> a float."""
    best = similarity.topk(k, dim=1).indices
    own = torch.arange(len(similarity))[:, None]
    hits = picture_of_text[best] == own
    return hits.all(dim=1).double().mean().item()


# %% solution
def image_to_text_recall(similarity, picture_of_text, k):
    best = similarity.topk(k, dim=1).indices
    own = torch.arange(len(similarity))[:, None]
    hits = picture_of_text[best] == own
    return hits.any(dim=1).double().mean().item()


# %% check: recall against a loop over pictures
from lessons.checker import Mistake, Task


def cases(random):
    for pictures, captions, k in [(6, 5, 3), (8, 3, 2), (10, 2, 5), (12, 5, 1)]:
        picture_of_text = torch.arange(pictures).repeat_interleave(captions)[random.order(pictures * captions)]
        own = picture_of_text[None, :] == torch.arange(pictures)[:, None]
        yield {
            "similarity": random(pictures, pictures * captions) + 1.0 * own,
            "picture_of_text": picture_of_text,
            "k": k,
        }


def reference(similarity, picture_of_text, k):
    owners, found = picture_of_text.tolist(), 0
    for picture, row in enumerate(similarity.tolist()):
        order = sorted(range(len(row)), key=lambda text: -row[text])
        found += any(owners[text] == picture for text in order[:k])
    return found / len(similarity)


def flawed(similarity, picture_of_text, k, join=torch.any, look=True, larger=0, share=True):
    best = similarity.topk(min(k + larger, similarity.shape[1]), dim=1).indices
    numbers = picture_of_text[best] if look else best
    hits = numbers == torch.arange(len(similarity))[:, None]
    hits = join(hits, dim=1).double()
    return (hits.mean() if share else hits.sum()).item()


def share_of_hits(hits, dim):
    return hits.double().mean(dim=dim)


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", join=torch.all),
    Mistake("the share of own captions among the k best: precision, not recall", join=share_of_hits),
    Mistake("the recall with caption numbers taken for picture numbers: that line was right", look=False),
    Mistake("recall at k + 1: that line was right", larger=1),
    Mistake("the number of pictures found, not their share: that part was right", share=False),
    Mistake("the text-to-image recall: the other direction",
            lambda s, owner, k: (s.topk(min(k, len(s)), dim=0).indices == owner).any(dim=0).double().mean().item()),
]

TASKS = [
    Task("image_to_text_recall", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="a loop over pictures"),
]


# %% hints
HINTS = [
    ("Where to look", "Recall can only grow with k. Does this one?"),
    ("Try it small", "One picture, k = 2, one right caption and one wrong one: what is hits, and what comes out?"),
    ("The line", "How many own captions among the k best make a picture found?"),
]
