"""Other right answers to the exercises of lessons 4.1 to 4.3."""

import torch
import torch.nn.functional as F

from tests.alternatives import honest


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
