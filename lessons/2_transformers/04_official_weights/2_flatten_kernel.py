"""A conv kernel as a matrix, and back  (10 minutes, difficulty 2 of 5)

Official ViTs store the patch projection as a convolution kernel; this
project multiplies flattened patches, in the order channel, row, column,
with a matrix of D rows. Convert in both directions, so that
`conv2d(image, kernel, stride=p)` and `patches @ matrix.T` agree.
"""

import torch
from einops import rearrange


# %% solution
def flatten_kernel(kernel):
    """kernel (D, C, p, p) -> matrix (D, C * p * p)."""
    return rearrange(kernel, "d c ph pw -> d (c ph pw)")


def unflatten_kernel(matrix, channels):
    """matrix (D, C * p * p) and the number of channels C -> kernel (D, C, p, p); p follows from the shape."""
    side = round((matrix.shape[1] / channels) ** 0.5)
    return rearrange(matrix, "d (c ph pw) -> d c ph pw", c=channels, ph=side, pw=side)


# %% check: kernels against a loop over their numbers
from lessons.checker import Mistake, Task


def flat_cases(random):
    for shape in [(5, 3, 2, 2), (4, 1, 3, 3), (2, 4, 4, 4)]:
        yield {"kernel": random(*shape)}


def kernel_cases(random):
    for dim, channels, side in [(5, 3, 2), (4, 1, 3), (2, 4, 4)]:
        yield {"matrix": random(dim, channels * side * side), "channels": channels}


def flat_reference(kernel):
    dim, channels, side, _ = kernel.shape
    rows = [
        [kernel[d, c, row, column] for c in range(channels) for row in range(side) for column in range(side)]
        for d in range(dim)
    ]
    return torch.stack([torch.stack(row) for row in rows])


def kernel_reference(matrix, channels):
    side = next(side for side in range(1, 100) if side * side * channels == matrix.shape[1])
    kernel = matrix.new_zeros(len(matrix), channels, side, side)
    for place in range(matrix.shape[1]):
        channel, rest = divmod(place, side * side)
        kernel[:, channel, rest // side, rest % side] = matrix[:, place]
    return kernel


def flat(order, turn=lambda kernel: kernel):
    return lambda kernel: rearrange(turn(kernel), f"d c ph pw -> {order}")


def unflat(order, turn=lambda kernel: kernel):
    def function(matrix, channels):
        side = round((matrix.shape[1] / channels) ** 0.5)
        return turn(rearrange(matrix, f"d {order} -> d c ph pw", c=channels, ph=side, pw=side))

    return function


def flip(kernel):
    return kernel.flip(-1, -2)


FLATTEN_KERNEL_MISTAKES = [
    Mistake("a matrix in the order row, column, channel", flat("d (ph pw c)"), fix="(c ph pw): channels first."),
    Mistake("a matrix with each square transposed: (c pw ph)", flat("d (c pw ph)"), fix="(c ph pw)."),
    Mistake("a matrix of kernels turned upside down", flat("d (c ph pw)", flip),
            fix="Libraries do not flip the kernel."),
    Mistake("the transposed matrix, (C p p, D)", flat("(c ph pw) d"), fix="One row for each of the D outputs."),
    Mistake("a kernel flattened over its outputs too: one long row", flat("(d c ph pw)")),
    Mistake("a plain reshape to (C p p, D)", lambda kernel: kernel.reshape(-1, len(kernel)), fix="flatten(1)."),
]

UNFLATTEN_KERNEL_MISTAKES = [
    Mistake("a kernel read in the order row, column, channel", unflat("(ph pw c)"), fix="(c ph pw): channels first."),
    Mistake("a kernel with each square transposed: (c pw ph)", unflat("(c pw ph)"), fix="(c ph pw)."),
    Mistake("kernels turned upside down", unflat("(c ph pw)", flip)),
    Mistake("kernels with channels last: (D, p, p, C)",
            lambda matrix, channels: unflat("(c ph pw)")(matrix, channels).permute(0, 2, 3, 1)),
    Mistake("kernels of one row: (D, C, 1, p p)", lambda matrix, channels: matrix.reshape(len(matrix), channels, 1, -1),
            fix="p is the root of C p p / C."),
]

TASKS = [
    Task("flatten_kernel", flat_cases, reference=flat_reference, mistakes=FLATTEN_KERNEL_MISTAKES,
         like="the loop over channel, row, column"),
    Task("unflatten_kernel", kernel_cases, reference=kernel_reference, mistakes=UNFLATTEN_KERNEL_MISTAKES,
         like="the loop over channel, row, column"),
]


# %% hints
HINTS = [
    ("Which order?", "A kernel lies in memory as (D, C, p, p): `flatten(1)` keeps the order channel, row, column."),
    ("What is p?", "The matrix has C * p * p columns: divide by C, then take the root, and make it a whole number."),
    ("Right for one channel only", "A row of the matrix holds all of channel 0 first, then channel 1."),
]
