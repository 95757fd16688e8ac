"""SAM: clicks and boxes on one thing, or everything there is; no words (lesson 5.1)."""

import torch
from PIL import Image

from minimodels.sam import NEGATIVE, POSITIVE, SAM
from minimodels.sam_everything import Keep, MaskGenerator, Proposal, SAMProposer
from minimodels.segmenters import Answer, Kind, Prompts, Segmenter
from minimodels.words.templates import sticker_model

EVERYTHING_SIDE = {True: 16, False: 32}  # points a side of the grid: on a scene of stickers, on photographs


def segment(model: SAM, picture: Image.Image, prompts: Prompts) -> Answer:
    """The masks of what is meant, or of everything."""
    return everything(model, picture) if prompts.everything else segment_places(model, picture, prompts)


@torch.no_grad()
def segment_places(model: SAM, picture: Image.Image, prompts: Prompts) -> Answer:
    """Three masks for one click, one for several clicks or a box; the one that SAM trusts most comes first."""
    ask, clicks = SAMProposer(model), [*prompts.points, *prompts.beside]
    seen = ask.encode(picture)
    points = torch.tensor([clicks], dtype=torch.float64) if clicks else None  # (1, N, 2)
    labels = torch.tensor([[POSITIVE] * len(prompts.points) + [NEGATIVE] * len(prompts.beside)]) if clicks else None
    boxes = torch.tensor([prompts.box], dtype=torch.float64) if prompts.box else None  # (1, 4)
    low, iou = ask.propose(seen, points, labels, boxes, multimask=len(clicks) == 1 and not prompts.box)
    order = iou[0].argsort(descending=True)
    logits = ask.enlarge(seen, low[0, order].float()).cpu()  # (M, H, W)
    return Answer(["mask"] * len(order), logits, iou[0, order].tolist())


def everything(model: SAM, picture: Image.Image) -> Answer:
    """All that the automatic generator finds, the largest first, so that small ones are painted over large ones."""
    proposals = propose(model, picture)
    logits = torch.full((len(proposals), picture.height, picture.width), -torch.inf, dtype=torch.float16)
    for logit, proposal in zip(logits, proposals):
        logit[torch.from_numpy(proposal.mask)] = torch.inf
    return Answer(["mask"] * len(proposals), logits, [proposal.predicted_iou for proposal in proposals])


def propose(model: SAM, picture: Image.Image) -> list[Proposal]:
    """What the automatic generator finds, asked at a grid that suits the model; the largest first."""
    side = EVERYTHING_SIDE[sticker_model(model)]
    keep = Keep(iou=0.5, stability=0.8) if sticker_model(model) else Keep()  # tiny-sam's clicks meant several things
    proposals = MaskGenerator(SAMProposer(model), points_per_side=side, keep=keep)(picture)
    return sorted(proposals, key=lambda proposal: -proposal.area)


SEGMENTER = Segmenter(
    model=SAM,
    takes={Kind.PLACES: "clicks and boxes", Kind.EVERYTHING: "a grid of points"},
    segment=segment,
    embedded="tiny-sam",
    official="sam_vit_b",
    size="375 MB",
)
