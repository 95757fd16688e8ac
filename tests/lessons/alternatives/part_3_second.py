"""Other right answers to the exercises of lessons 3.3 to 3.5."""

import math

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


# ---------------------------------------------------------------- 3.3
@honest("3.3.1")
def contrastive_loss(image, text, logit_scale):
    logits = torch.exp(logit_scale) * (F.normalize(text) @ F.normalize(image).T)
    rows, columns = logits.log_softmax(dim=0), logits.log_softmax(dim=1)
    return -(rows.diag().mean() + columns.diag().mean()) * 0.5


@honest("3.3.2")
def cross_entropy(logits, labels):
    total = 0
    for row, label in zip(logits, labels):
        total = total + (row - row.max()).exp().sum().log() + row.max() - row[label]
    return total / len(logits)


@honest("3.3.3")
def batch_accuracy(logits):
    order = logits.diagonal()
    return {
        "text_to_image": float((order >= logits.amax(0)).double().mean()),
        "image_to_text": float((order >= logits.amax(1)).double().mean()),
    }


@honest("3.3.4")
def learning_rate(step, warm_up, total, peak):
    rising = peak * (step + 1) / warm_up if warm_up else float("inf")
    left = (total - step) / (total - warm_up)
    return rising if step < warm_up else peak * 0.5 * (1 - math.cos(math.pi * left))


@honest("3.3.5")
def scale_of(temperature):
    return torch.tensor(1 / temperature, dtype=torch.float64).log().item()


@honest("3.3.5")
def limit(logit_scale):
    return torch.minimum(logit_scale, torch.tensor(100.0, dtype=logit_scale.dtype).log())


@honest("3.3.6")
def training_loss(image, text, logit_scale):
    image = image / image.norm(dim=1, keepdim=True)
    text = text / text.norm(dim=1, keepdim=True)
    logits = logit_scale.exp() * (image @ text.T)
    return (torch.logsumexp(logits, 0) + torch.logsumexp(logits, 1) - 2 * logits.diagonal()).mean() / 2


# ---------------------------------------------------------------- 3.4
@honest("3.4.1")
def make_classifier(labels, templates, encode_text):
    """All texts in one call; a sum instead of a mean, which the second normalisation makes equal."""
    texts = [template.format(label) for label in labels for template in templates]
    embedded = F.normalize(encode_text(texts), dim=-1)
    return F.normalize(embedded.view(len(labels), len(templates), -1).sum(dim=1), dim=-1)


@honest("3.4.2")
def zero_shot(image, classifier, logit_scale):
    logits = torch.stack([F.normalize(picture, dim=0) @ classifier.T for picture in image]) * logit_scale.exp()
    exps = torch.exp(logits - logits.amax(dim=1, keepdim=True))
    return {"best": exps.argmax(1), "logits": logits, "probabilities": exps / exps.sum(dim=1, keepdim=True)}


@honest("3.4.3")
def top_k_accuracy(logits, labels, k):
    right = logits.gather(1, labels[:, None])
    return float(((logits > right).sum(dim=1) < k).float().double().mean())


@honest("3.4.3")
def top_k_accuracy__sorted(logits, labels, k):
    hits = 0
    for row, label in zip(logits.tolist(), labels.tolist()):
        hits += label in sorted(range(len(row)), key=lambda c: row[c], reverse=True)[:k]
    return hits / len(labels)


@honest("3.4.4")
def linear_probe(features, labels, num_classes, strength):
    """The dual form: a system of N equations instead of D."""
    targets = torch.eye(num_classes, dtype=features.dtype)[labels]
    kernel = features @ features.T + strength * torch.eye(len(features), dtype=features.dtype)
    return features.T @ torch.linalg.solve(kernel, targets)


@honest("3.4.4")
def linear_probe__inverse(features, labels, num_classes, strength):
    x, y = features, F.one_hot(labels, num_classes).double()
    return torch.linalg.inv(x.mT @ x + torch.diag(torch.full((x.shape[1],), strength, dtype=x.dtype))) @ x.mT @ y


@honest("3.4.5")
def confusion(answers, labels, num_classes):
    table = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for answer, label in zip(answers, labels):
        table[label, answer] += 1
    exact = [table[c, c].item() / table[c].sum().item() for c in range(num_classes) if table[c].sum() > 0]
    return {"table": table, "mean_accuracy": math.fsum(exact) / len(exact)}


# ---------------------------------------------------------------- 3.5
@honest("3.5.1")
def make_index(embeddings):
    return embeddings * torch.rsqrt((embeddings**2).sum(dim=1, keepdim=True))


@honest("3.5.1")
def search(index, queries, k):
    cosines = F.normalize(queries, dim=1) @ index.mT
    values, places = torch.sort(cosines, dim=1, descending=True)
    return [values[:, :k], places[:, :k]]


@honest("3.5.2")
def recall_at_k(similarity, k):
    ranks = (similarity > similarity.diagonal()[None, :]).sum(dim=0)
    return (ranks < k).sum().item() / len(ranks)


@honest("3.5.3")
def rank_measures(similarity):
    order = similarity.argsort(dim=0, descending=True)
    ranks = (order == torch.arange(len(similarity))).int().argmax(dim=0) + 1
    return {"mean_reciprocal_rank": ranks.double().reciprocal().mean(), "median_rank": ranks.float().median()}


@honest("3.5.4")
def search_in_chunks(index, queries, k, chunk):
    """Plain Python lists of (cosine, number) pairs, cut back to k after each piece."""
    best = [[] for _ in queries]
    for start in range(0, len(index), chunk):
        scores = (queries @ index[start : start + chunk].T).tolist()
        for kept, row in zip(best, scores):
            kept += [(score, start + at) for at, score in enumerate(row)]
            kept.sort(key=lambda pair: -pair[0])
            del kept[k:]
    values = torch.tensor([[score for score, _ in kept] for kept in best], dtype=queries.dtype)
    return values, torch.tensor([[number for _, number in kept] for kept in best])


@honest("3.5.5")
def image_to_text_recall(similarity, picture_of_text, k):
    own = picture_of_text[None, :] == torch.arange(len(similarity))[:, None]
    best_own = similarity.masked_fill(~own, -math.inf).amax(dim=1, keepdim=True)
    return (((similarity > best_own).sum(dim=1) < k).double().mean()).item()
