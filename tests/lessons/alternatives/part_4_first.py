"""Other right answers to the exercises of lessons 4.1 to 4.3."""

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


# ---------------------------------------------------------------- 4.1
@honest("4.1.1")
def pick_activations(x, blocks, layers):
    """Every block's output in a list, then the wanted ones."""
    outputs, number = [], 0
    while number <= max(layers):
        outputs.append(blocks[number](outputs[-1] if outputs else x))
        number += 1
    return [outputs[number] for number in layers]


@honest("4.1.2")
def film(x, prompt, mul_weight, mul_bias, add_weight, add_bias):
    mul = torch.einsum("be,de->bd", prompt, mul_weight) + mul_bias
    add = torch.einsum("be,de->bd", prompt, add_weight) + add_bias
    return torch.einsum("bnd,bd->bnd", x, mul) + add.unsqueeze(1).expand_as(x)


@honest("4.1.3")
def decoder_tokens(activations, prompt, parts):
    """As the released code does it: what it has so far starts as None."""
    out, steps = None, {}
    for i, activation in enumerate(activations[::-1]):
        reduced = parts["reduces"][i](activation)
        out = reduced if out is None else reduced + out
        if i == 0:
            out = parts["mul"](prompt).unsqueeze(1) * out + parts["add"](prompt).unsqueeze(1)
            steps["film"] = out
        out = parts["blocks"][i](out)
        if i == 0:
            steps["first"] = out
    return steps | {"tokens": out}


@honest("4.1.4")
def mask_head(tokens, weight, bias):
    """With F.fold, the inverse of unfold."""
    patch, side = weight.shape[-1], round((tokens.shape[1] - 1) ** 0.5)
    columns = tokens[:, 1:] @ weight.flatten(1)  # (B, N, P P)
    return F.fold(columns.transpose(1, 2), (side * patch, side * patch), patch, stride=patch)[:, 0] + bias


@honest("4.1.4")
def mask_head__square_by_square(tokens, weight, bias):
    batch, n, _ = tokens.shape
    patch, side = weight.shape[-1], round((n - 1) ** 0.5)
    mask = tokens.new_zeros(batch, side * patch, side * patch)
    for row in range(side):
        for column in range(side):
            token = tokens[:, 1 + row * side + column]
            square = torch.tensordot(token, weight[:, 0], dims=1) + bias
            mask[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = square
    return mask


@honest("4.1.5")
def first_step(hidden_states, prompt, layers, reduce, mul, add):
    outputs = hidden_states[1:]
    return torch.addcmul(add(prompt)[:, None], mul(prompt)[:, None], reduce(outputs[layers[-1]]))


# ---------------------------------------------------------------- 4.2
@honest("4.2.1")
def segmentation_loss(logits, mask):
    p = 1 / (1 + torch.exp(-logits))
    m = mask.double()
    cross = -(m * torch.log(p) + (1 - m) * torch.log(1 - p)).mean()
    p, m = p.flatten(2), m.flatten(2)
    dice = (2 * torch.einsum("bpn,bpn->bp", p, m) + 1) / (p.sum(2) + m.sum(2) + 1)
    return 4 * cross + (1 - dice).mean() / 2


@honest("4.2.2")
def target_mask(owner, kinds, asked):
    """A table of yes and no, looked up for every pixel."""
    return torch.tensor([False] + [kind == asked for kind in kinds])[owner]


@honest("4.2.3")
def iou(probabilities, truth, threshold):
    found = torch.gt(probabilities, threshold).flatten(1).double()
    truth = truth.flatten(1).double()
    both = (found * truth).sum(1)
    either = found.sum(1) + truth.sum(1) - both
    return torch.where(either > 0, both / either, 0.0)


@honest("4.2.4")
def three_averages(found, truth, classes):
    """Classes added up by index_add."""
    both, either = (x.flatten(1).double().sum(1) for x in (found & truth, found | truth))
    kinds, which = classes.unique(return_inverse=True)
    sums = torch.zeros(2, len(kinds), dtype=torch.float64).index_add(1, which, torch.stack([both, either]))
    return {
        "classes": (sums[0] / (sums[1] + 1)).mean(),
        "pixels": sums[0].sum() / (sums[1].sum() + 1),
        "scenes": torch.mean(both / (either + 1)),
    }


@honest("4.2.5")
def precision_recall(probabilities, truth, thresholds):
    """One threshold after the other, by sorting out with boolean indices."""
    inside, precision, recall = probabilities[truth], [], []
    for threshold in thresholds:
        tp = float((inside > threshold).sum())
        precision.append(tp / (1 + float((probabilities > threshold).sum())))
        recall.append(tp / (1 + len(inside)))
    return {
        "recall": torch.tensor(recall, dtype=torch.float64),
        "precision": torch.tensor(precision, dtype=torch.float64),
    }


# ---------------------------------------------------------------- 4.3
@honest("4.3.1")
def highlight(picture, mask, blurred, factor):
    inside = mask.to(picture).unsqueeze(1)
    return picture * inside + (factor * blurred) * (1 - inside)


@honest("4.3.2")
def crop_box(mask, context):
    """By the first and the last row and column that hold a True."""
    ends = []
    for axis in (0, 1):
        hit = mask.any(dim=axis).int()
        low, high = int(hit.argmax()), len(hit) - int(hit.flip(0).argmax())
        margin = (high - low) * context
        ends.extend([int(max(low - margin, 0.0)), int(min(high + margin, float(len(hit))))])
    return ends


@honest("4.3.3")
def mixes(text, picture, weights):
    return picture + torch.outer(weights, text - picture)


@honest("4.3.4")
def masked_attention(q, k, v, seen):
    """Row 0 apart, the others with the fused kernel."""
    plain = F.scaled_dot_product_attention(q[:, :, 1:], k, v)
    scores = (k @ q[:, :, :1].transpose(-1, -2)).squeeze(-1) / q.shape[-1] ** 0.5
    keep = torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)
    weights = torch.where(keep[:, None], scores, torch.zeros_like(scores)).softmax(-1)
    return torch.cat([weights.unsqueeze(2) @ v, plain], dim=2)


@honest("4.3.5")
def mask_scores(scores, masks, num_heads):
    split = scores.unflatten(0, (-1, num_heads)).clone()
    split[:, :, 0] *= masks[:, None]
    return split.flatten(0, 1)
