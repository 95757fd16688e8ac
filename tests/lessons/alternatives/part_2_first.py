"""Other right answers to the exercises of lessons 2.1 and 2.2: loops, view and permute, torch's own helpers."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.lessons.alternatives import honest


# ---------------------------------------------------------------- 2.1
@honest("2.1.1")
def softmax(scores):
    return (scores - torch.log(torch.exp(scores - scores.amax(-1, True)).sum(-1, True)) - scores.amax(-1, True)).exp()


@honest("2.1.1")
def softmax__rows(scores):
    flat = scores.reshape(-1, scores.shape[-1])
    rows = []
    for row in flat:
        exps = torch.stack([torch.exp(number - row.max()) for number in row])
        rows.append(exps / exps.sum())
    return torch.stack(rows).reshape(scores.shape)


@honest("2.1.2")
def attention(q, k, v):
    return torch.softmax(torch.matmul(q / math.sqrt(q.size(-1)), k.transpose(-2, -1)), dim=-1).matmul(v)


@honest("2.1.2")
def attention__loops(q, k, v):
    batches = []
    for b in range(q.shape[0]):
        heads = []
        for h in range(q.shape[1]):
            rows = []
            for query in q[b, h]:
                scores = torch.stack([(query * key).sum() for key in k[b, h]]) / q.shape[-1] ** 0.5
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                rows.append(sum(w * value for w, value in zip(weights, v[b, h])))
            heads.append(torch.stack(rows))
        batches.append(torch.stack(heads))
    return torch.stack(batches)


@honest("2.1.3")
def causal_mask(num_tokens):
    return ~torch.triu(torch.ones(num_tokens, num_tokens, dtype=torch.bool), diagonal=1)


@honest("2.1.3")
def causal_mask__loops(num_tokens):
    mask = torch.zeros(num_tokens, num_tokens).bool()
    for i in range(num_tokens):
        mask[i, : i + 1] = True
    return mask


@honest("2.1.3")
def masked_attention(q, k, v, mask):
    """After the softmax, but then each row is divided by what is left: the same."""
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) * mask
    return weights / weights.sum(-1, keepdim=True) @ v


@honest("2.1.3")
def masked_attention__additive(q, k, v, mask):
    bias = torch.zeros(mask.shape, dtype=q.dtype)
    bias[~mask] = -math.inf
    return ((q @ k.mT) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v


@honest("2.1.4")
def split_heads(x, num_heads):
    return x.view(x.shape[0], x.shape[1], num_heads, -1).permute(0, 2, 1, 3)


@honest("2.1.4")
def merge_heads(x):
    return x.transpose(1, 2).flatten(2)


@honest("2.1.5")
def attention_map(x, qkv_weight, qkv_bias, num_heads):
    batch, n, dim = x.shape
    q, k = (
        F.linear(x, qkv_weight[i * dim : (i + 1) * dim], qkv_bias[i * dim : (i + 1) * dim])
        .view(batch, n, num_heads, dim // num_heads)
        .transpose(1, 2)
        for i in range(2)
    )
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(dim // num_heads)
    exps = (scores - scores.amax(-1, keepdim=True)).exp()
    return {"weights": exps / exps.sum(-1, keepdim=True), "scores": scores, "k": k, "q": q}


@honest("2.1.6")
def self_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    """Head by head, each with its own columns of the output projection."""
    dim = x.shape[-1]
    d = dim // num_heads
    q, k, v = F.linear(x, qkv_weight, qkv_bias).chunk(3, dim=-1)
    total = out_bias
    for head in range(num_heads):
        own = slice(head * d, (head + 1) * d)
        weights = (q[..., own] @ k[..., own].mT / d**0.5).softmax(-1)
        total = total + weights @ v[..., own] @ out_weight[:, own].T
    return total


# ---------------------------------------------------------------- 2.2
@honest("2.2.1")
def layer_norm(x, weight, bias, eps):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


@honest("2.2.2")
def gelu(x):
    return x * torch.distributions.Normal(torch.zeros((), dtype=x.dtype), 1.0).cdf(x)


@honest("2.2.2")
def quick_gelu(x):
    return x / (1 + (-1.702 * x).exp())


@honest("2.2.3")
def mlp(x, fc1_weight, fc1_bias, fc2_weight, fc2_bias):
    hidden = torch.einsum("bnd,md->bnm", x, fc1_weight) + fc1_bias
    activated = 0.5 * hidden * (1 + torch.erf(hidden * 0.5**0.5))
    return {"output": F.linear(activated, fc2_weight) + fc2_bias, "activated": activated, "hidden": hidden}


@honest("2.2.4")
def block(x, norm1, attention, norm2, mlp):
    first = torch.add(attention(norm1(x)), x)
    second = mlp(norm2(first))
    return {"output": second + first, "after_attention": first}


@honest("2.2.5")
def transformer_block(x, weights, attention):
    def norm(name, z):
        centred = z - z.mean(-1, keepdim=True)
        z = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        return z * weights[name + ".weight"] + weights[name + ".bias"]

    x = x + attention(norm("norm1", x))
    hidden = nn.GELU()(norm("norm2", x) @ weights["mlp.fc1.weight"].T + weights["mlp.fc1.bias"])
    return x + hidden @ weights["mlp.fc2.weight"].T + weights["mlp.fc2.bias"]


@honest("2.2.6")
def count_parameters(embed_dim, mlp_dim):
    layer = nn.TransformerEncoderLayer(embed_dim, 1, mlp_dim, device="meta")
    return sum(p.numel() for p in layer.state_dict().values())


@honest("2.2.6")
def count_parameters__formula(embed_dim, mlp_dim):
    d, m = embed_dim, mlp_dim
    return 4 * d * d + 2 * d * m + 9 * d + m
