"""Other right answers to the exercises of lessons 5.2 and 5.3."""

import torch
from scipy.optimize import linear_sum_assignment, linprog

from tests.lessons.alternatives import honest


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


# ---------------------------------------------------------------- 5.3
@honest("5.3.1")
def center_chances(points, centers):
    squares = torch.stack([((points - center) ** 2).sum(dim=1) for center in centers])
    nearest = squares.min(dim=0).values
    return torch.nn.functional.normalize(nearest, p=1, dim=0)


@honest("5.3.2")
def k_means_step(points, centers):
    """Sums and counts by a matrix of memberships."""
    nearest = (points.unsqueeze(1) - centers).pow(2).sum(-1).min(dim=1).indices
    member = torch.nn.functional.one_hot(nearest, len(centers)).to(points)
    counts = member.sum(dim=0)[:, None]
    return {"nearest": nearest, "centers": torch.where(counts > 0, member.T @ points / counts.clamp(min=1), centers)}


@honest("5.3.3")
def emd(cost):
    """The linear programme itself."""
    rows, columns = cost.shape
    sums = torch.cat([torch.eye(rows).repeat_interleave(columns, dim=1), torch.eye(columns).repeat(1, rows)])
    weights = torch.cat([torch.ones(rows).double() / rows, torch.ones(columns).double() / columns])
    return linprog(cost.flatten().numpy(), A_eq=sums.numpy(), b_eq=weights.numpy()).fun


@honest("5.3.4")
def purity_coverage(mask, points, patch_size):
    height, width = mask.shape
    blocks = mask.reshape(height // patch_size, patch_size, width // patch_size, patch_size)
    patches = int(blocks.any(dim=3).any(dim=1).sum())
    inside = int(mask.flatten()[points[:, 1] * width + points[:, 0]].sum())
    return {"purity": inside / (patches or 1), "coverage": inside / points.shape[0]}


@honest("5.3.5")
def merge(masks, scores, count, share):
    ranks = (scores[None] > scores[:, None]).sum(dim=1)
    good = (ranks == 0) | ((ranks < count) & (scores > share * scores.max()))
    return torch.einsum("m,mhw->hw", good.double(), masks.double()) > 0
