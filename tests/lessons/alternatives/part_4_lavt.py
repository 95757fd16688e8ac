"""Other right answers to the exercises of lessons 4.4 and 4.5."""

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


# ---------------------------------------------------------------- 4.4
@honest("4.4.1")
def ask_words(query, key, value, mask, num_heads):
    """As the released code does it: keys and values zeroed, 1e4 * mask - 1e4 added to the scores."""
    b, n, c = query.shape
    keep = mask[..., None].to(key)
    q = query.reshape(b, n, num_heads, c // num_heads).permute(0, 2, 1, 3)
    k = (key * keep).reshape(b, -1, num_heads, c // num_heads).permute(0, 2, 3, 1)
    v = (value * keep).reshape(b, -1, num_heads, c // num_heads).permute(0, 2, 1, 3)
    scores = torch.matmul(q, k) / c**0.5 + (1e4 * keep[:, None, None, :, 0] - 1e4)
    return torch.matmul(torch.softmax(scores, -1), v).permute(0, 2, 1, 3).reshape(b, n, c)


@honest("4.4.1")
def ask_words__picture_by_picture(query, key, value, mask, num_heads):
    answers = []
    for q, k, v, real in zip(query, key, value, mask.bool()):
        heads = []
        for a, b, c in zip(q.chunk(num_heads, -1), k[real].chunk(num_heads, -1), v[real].chunk(num_heads, -1)):
            weights = torch.exp(torch.einsum("nd,td->nt", a, b) / query.shape[-1] ** 0.5)
            heads.append(weights / weights.sum(1, keepdim=True) @ c)
        answers.append(torch.cat(heads, -1))
    return torch.stack(answers)


@honest("4.4.2")
def instance_norm(x):
    """Centred first; the variance is then a mean of squares."""
    x = x - x.sum(1, keepdim=True) / x.shape[1]
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5)


@honest("4.4.2")
def instance_norm__by_layer_norm(x):
    return F.layer_norm(x.transpose(1, 2), (x.shape[1],)).transpose(1, 2)


@honest("4.4.3")
def language_gate(visual, fused, weight1, weight2):
    hidden = torch.einsum("bnc,dc->bnd", fused, weight1).clamp(min=0)
    gate = 2 * torch.sigmoid(2 * (hidden @ weight2.T)) - 1  # tanh in other words
    return {"gate": gate, "out": torch.addcmul(visual, gate, fused)}


@honest("4.4.4")
def enlarge(x, height, width):
    """Rows, then columns, by their two neighbours."""

    def stretch(x, new):
        old = x.shape[-1]
        step = (old - 1) / (new - 1) if new > 1 else 0.0
        columns = []
        for i in range(new):
            low = min(int(i * step), old - 1)
            share = i * step - low
            columns.append((1 - share) * x[..., low] + share * x[..., min(low + 1, old - 1)])
        return torch.stack(columns, dim=-1)

    return stretch(stretch(x, width).transpose(2, 3), height).transpose(2, 3)


@honest("4.4.5")
def weighted_loss(logits, mask, weights):
    """From the difference of the two channels, by softplus."""
    surer = logits[:, 1] - logits[:, 0]
    wrong = F.softplus(torch.where(mask == 1, -surer, surer))
    weight = torch.where(mask == 1, weights[1], weights[0])
    return (weight * wrong / weight.sum()).sum()


@honest("4.4.6")
def learning_rates(base, steps):
    return torch.tensor([base * ((steps - s) / steps) ** 0.9 for s in range(steps)], dtype=torch.float64)


@honest("4.4.7")
def stage(x, blocks, fuse, gate, norm, merge):
    for block in blocks:
        x = block(x)
    f = fuse(x)
    return {"next": merge(x + gate(f) * f), "decoder": norm(f)}


# ---------------------------------------------------------------- 4.5
@honest("4.5.1")
def two_ious(found, meant):
    both = [float((a & b).sum()) for a, b in zip(found, meant)]
    either = [float((a | b).sum()) for a, b in zip(found, meant)]
    mean = sum(i / u if u else 0.0 for i, u in zip(both, either)) / len(both)
    return {"overall": sum(both) / sum(either), "mean": mean}


@honest("4.5.2")
def precision_at(ious, levels):
    return (ious[:, None] >= torch.tensor(levels, dtype=ious.dtype)).to(ious.dtype).mean(0)


@honest("4.5.3")
def keep_and_refuse(present, absent, thresholds):
    """By the difference of the two logits, answer by answer."""

    def score(answer):
        surer = answer[1] - answer[0]
        painted = surer[surer > 0]
        return torch.sigmoid(painted).mean() if len(painted) else torch.zeros((), dtype=answer.dtype)

    there, gone = torch.stack([score(a) for a in present]), torch.stack([score(a) for a in absent])
    kept = torch.stack([(there >= t).double().mean() for t in thresholds])
    return {"kept": kept, "refused": torch.stack([(gone < t).double().mean() for t in thresholds])}
