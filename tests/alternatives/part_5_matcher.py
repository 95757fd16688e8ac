"""Other right answers to the exercises of lessons 5.2 and 5.3."""

import torch
from scipy.optimize import linear_sum_assignment

from tests.alternatives import honest


# ---------------------------------------------------------------- 5.2
@honest("5.2.1")
def similarity(reference, target):
    """Products first, lengths afterwards."""
    lengths = torch.outer(reference.square().sum(dim=1).sqrt(), target.square().sum(dim=1).sqrt())
    return torch.einsum("rd,nd->rn", reference, target) / lengths


@honest("5.2.1")
def nearest(cosines, marked):
    return torch.stack([cosines[r].max(dim=0).indices for r in range(len(marked)) if marked[r]])


@honest("5.2.2")
def mutual_pairs(cosines):
    best = (cosines == cosines.amax(dim=0, keepdim=True)) & (cosines == cosines.amax(dim=1, keepdim=True))
    return best.nonzero()


@honest("5.2.3")
def assign(cosines):
    """Row after row, every way to go on."""

    def best(row, free):
        if row == len(cosines):
            return 0.0, []
        ways = []
        for column in sorted(free):
            rest, columns = best(row + 1, free - {column})
            ways.append((cosines[row, column].item() + rest, [column, *columns]))
        return max(ways, key=lambda way: way[0])

    return torch.tensor(best(0, frozenset(range(cosines.shape[1])))[1])


@honest("5.2.4")
def keep_returning(cosines, marked):
    _, target = linear_sum_assignment(-cosines[marked])
    rows, columns = linear_sum_assignment(-cosines[:, target])
    home = dict(zip(columns.tolist(), rows.tolist()))
    return torch.tensor([t for place, t in enumerate(target.tolist()) if marked[home[place]]], dtype=torch.long)
