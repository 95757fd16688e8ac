"""Two models that should be equal, on the same inputs, module by module, gradients included (lesson 2.4).

    compare(ours, reference, {"image": image}, pairs=[("blocks.{i}", "layers.{i}")])

Two numbers are equal when |a - b| <= 1e-10 (1 + |b|) in float64. float32 cannot prove that: its rounding (1e-6) hides a
wrong epsilon or another GELU. Its differences are shown beside, and bfloat16's on a GPU, but do not judge.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-10
REST = "all other parameters"
Run = Callable[..., dict[str, Tensor]]
Pair = tuple[str, str] | tuple[str, str, Callable[[Tensor], Tensor]]  # our module, theirs, what to take of their output
Progress = Callable[[str], None]


# ---------------------------------------------------------------- what is reported


@dataclass(frozen=True)
class Row:
    """One line of the table: an input, a module's output, an output of the model, or the parameters in no other row.

    Args:
        kind: "input", "block", "output" or "parameters".
        ours, reference: names on both sides.
        shape, reference_shape: of what came out; None where the module did not run.
        float64: largest difference of the output; None where only a gradient is compared.
        gradient: largest difference of the gradients: of the input, or of all parameters in the module.
        lower: the output's difference in other number formats, {"float32": ...}.
        worst_parameter: where the largest gradient difference is.
    """

    kind: str
    ours: str
    reference: str
    shape: tuple[int, ...] | None
    reference_shape: tuple[int, ...] | None
    float64: float | None = None
    gradient: float | None = None
    lower: dict[str, float] = field(default_factory=dict)
    worst_parameter: str = ""
    tolerance: float = TOLERANCE

    @property
    def largest(self) -> float:
        """The larger one of the differences in float64."""
        return max(self.float64 or 0.0, self.gradient or 0.0)

    @property
    def status(self) -> str:
        """OK, DIFF, SHAPE, or GRAD where only gradients differ: then the mistake lies further on."""
        if self.shape != self.reference_shape:
            return "SHAPE"
        if (self.float64 or 0.0) > self.tolerance:
            return "DIFF"
        return "GRAD" if (self.gradient or 0.0) > self.tolerance else "OK"


@dataclass(frozen=True)
class Comparison:
    """Our model beside one reference: the table, and what it says in the end."""

    title: str
    rows: list[Row]

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return all(row.status == "OK" for row in self.rows)

    @property
    def worst(self) -> Row:
        """The row with the largest difference; a different shape is worse than any."""
        return max(self.rows, key=lambda row: (row.status == "SHAPE", row.largest))

    @property
    def first_wrong(self) -> Row | None:
        """The first row, in the order in which the model computes, whose output differs: where to look.

        Where every output agrees, the last one whose gradients do not: gradients carry a mistake backwards.
        """
        wrong = [row for row in self.rows if row.status in ("DIFF", "SHAPE")]
        return wrong[0] if wrong else next((row for row in reversed(self.rows) if row.status == "GRAD"), None)

    def largest(self, kind: str) -> float:
        """The largest difference of "output", "block" or "gradient" in float64, or of the outputs in "float32"."""
        if kind == "gradient":
            return max((row.gradient or 0.0 for row in self.rows), default=0.0)
        if kind in ("output", "block"):
            return max((row.float64 or 0.0 for row in self.rows if row.kind == kind), default=0.0)
        return max((row.lower.get(kind, 0.0) for row in self.rows if row.kind == "output"), default=0.0)

    def __str__(self) -> str:
        return table_text(self)

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        rows = [{**asdict(row), "status": row.status} for row in self.rows]
        return {"title": self.title, "ok": self.ok, "rows": plain(rows)}


def shape_text(shape: tuple[int, ...] | None) -> str:
    """(2, 3) -> "2 x 3"."""
    return "did not run" if shape is None else " x ".join(map(str, shape))


def plain(value: Any) -> Any:
    """JSON knows no infinity: it becomes the word "inf"."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def table_text(comparison: Comparison) -> str:
    """The table in plain text, one line a row, and one line that says it all."""
    formats = list(dict.fromkeys(name for row in comparison.rows for name in row.lower))
    head = ["", "ours", "reference", "shape", "float64", *formats, "gradient"]
    lines = [head]
    for row in comparison.rows:
        numbers = [row.float64, *(row.lower.get(name) for name in formats), row.gradient]
        cells = ["" if number is None else f"{number:.1e}" for number in numbers]
        lines.append([row.status, row.ours, row.reference, shape_text(row.shape), *cells])
        if row.status == "SHAPE":
            lines.append(["", "", "", f"reference: {shape_text(row.reference_shape)}"])
        elif row.worst_parameter and (row.gradient or 0) > row.tolerance:
            lines.append(["", f"  gradient of {row.worst_parameter}"])
    widths = [max(len(line[at]) for line in lines if len(line) > at) for at in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    kinds = {"outputs": "output", "blocks": "block", "gradients": "gradient"}
    largest = ", ".join(f"{name} {comparison.largest(kind):.1e}" for name, kind in kinds.items())
    tolerance = comparison.rows[0].tolerance if comparison.rows else TOLERANCE
    verdict = "the same" if comparison.ok else "NOT the same"
    return "\n".join(
        [comparison.title, *text, f"{verdict} to {tolerance:.0e} in float64; largest difference: {largest}"]
    )


# ---------------------------------------------------------------- measuring


def difference(a: Tensor, b: Tensor) -> float:
    """Largest |a - b| / (1 + |b|): absolute for small numbers, relative for large ones; infinite if shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    if not (a.is_floating_point() or b.is_floating_point()):
        return 0.0 if torch.equal(a, b) else float("inf")
    a, b = a.double(), b.double()  # bfloat16 could not hold its own difference
    largest = ((a - b).abs() / (1 + b.abs())).max().item()
    return largest if largest < float("inf") else float("inf")  # NaN, which is smaller than nothing, becomes infinity


def call(model: nn.Module, **inputs: Tensor) -> dict[str, Tensor]:
    """Run a model that answers with one tensor."""
    return {"output": model(*inputs.values())}


def compare(
    ours: nn.Module,
    reference: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    pairs: Sequence[Pair] = (),
    run: Run = call,
    run_reference: Run = call,
    to_ours: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
    title: str = "ours beside the reference",
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> Comparison:
    """Run both models in float64, forward and backward, and hold everything against everything.

    Both models are left as they came: weights are cast for the run and put back.

    Args:
        ours, reference: on the same device, in eval mode, with equal weights.
        inputs: {name: tensor}; gradients of the floating ones are compared.
        pairs: (our module, theirs) whose outputs must agree, and where shapes differ on purpose a function that takes
            the part of their output that is ours. `{i}` counts.
        run, run_reference: (model, **inputs) -> {name: tensor}, the same names on both sides.
        to_ours: {their parameter: gradient} -> {our parameter: gradient}; a conversion table does it.
        title: first line of the table.
        tolerance: the largest difference that is OK.
        progress: called with a word before each run.
    """
    tell = progress or (lambda word: None)
    pairs = expand(pairs, ours)
    our_names, their_names = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    tell("reference in float64, forward and backward")
    gradients: dict[str, Tensor] = {}
    theirs = observe(reference, run_reference, inputs, their_names, torch.float64, gradients.__setitem__)
    expected = dict(to_ours(gradients))
    del gradients
    tell("ours in float64, forward and backward")
    parameters: dict[str, float] = {}

    def receive(name: str, gradient: Tensor) -> None:
        parameters[name] = difference(gradient, expected.pop(name, torch.zeros_like(gradient)))

    mine = observe(ours, run, inputs, our_names, torch.float64, receive)
    parameters.update({name: difference(torch.zeros_like(left), left) for name, left in expected.items()})
    rows = make_rows(mine, theirs, pairs, parameters, tolerance)
    device = next(iter(inputs.values())).device
    for dtype in [torch.float32, torch.bfloat16][: 2 if device.type == "cuda" else 1]:
        tell(f"both in {str(dtype).removeprefix('torch.')}, forward")
        theirs = observe(reference, run_reference, inputs, their_names, dtype)
        mine = observe(ours, run, inputs, our_names, dtype)
        measured = {(row.kind, row.ours): row.float64 for row in make_rows(mine, theirs, pairs, {}, tolerance)}
        for row in rows:
            if (distance := measured.get((row.kind, row.ours))) is not None:
                row.lower[str(dtype).removeprefix("torch.")] = distance
    return Comparison(title, rows)


@dataclass
class Observed:
    """What one run of one model gave."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    blocks: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)  # their gradients


def observe(
    model: nn.Module,
    run: Run,
    inputs: Mapping[str, Tensor],
    modules: Sequence[str],
    dtype: torch.dtype,
    receive: Callable[[str, Tensor], None] | None = None,
) -> Observed:
    """Run a model in one number format and keep what the named modules put out.

    With `receive`, run backward too, from the same random weighting of the outputs on every side. Each parameter's
    gradient is handed to `receive` when it is known and then freed: two sets of a large model's would not fit.
    """
    seen = Observed()
    handles = []
    for name in modules:

        def keep(module: nn.Module, given: Any, output: Any, name: str = name) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            seen.blocks[name] = tensor.detach().clone()  # a copy: a ReLU behind it may work in place

        handles.append(model.get_submodule(name).register_forward_hook(keep))
    own = {name: tensor.clone().to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
    with in_dtype(model, dtype), torch.set_grad_enabled(receive is not None):
        try:
            if receive is not None:
                handles += gradient_hooks(model, receive)
            for tensor in own.values():
                tensor.requires_grad_(receive is not None and tensor.is_floating_point())
            outputs = run(model, **own)
            if receive is not None:
                torch.autograd.backward(*weighted(outputs))
        finally:
            for handle in handles:
                handle.remove()
    seen.outputs = {name: output.detach() for name, output in outputs.items()}
    seen.inputs = {name: tensor.grad for name, tensor in own.items() if tensor.grad is not None}
    return seen


def gradient_hooks(model: nn.Module, receive: Callable[[str, Tensor], None]) -> list[Any]:
    """Hand over each parameter's gradient as soon as it is complete, and free it."""
    handles = []
    for name, parameter in model.named_parameters():

        def hand_over(parameter: Tensor, name: str = name) -> None:
            assert parameter.grad is not None
            gradient, parameter.grad = parameter.grad, None
            receive(name, gradient)

        handles.append(parameter.register_post_accumulate_grad_hook(hand_over))
    return handles


def weighted(outputs: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs that have gradients, and random numbers to weight them with: the same for the same name and shape."""
    chosen = {name: output for name, output in sorted(outputs.items()) if output.requires_grad}
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(output.shape, generator=generator).to(output) for output in chosen.values()]
    return list(chosen.values()), weights


@contextmanager
def in_dtype(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Cast every floating parameter and buffer, and put the old ones back afterwards."""
    saved = [(tensor, tensor.data) for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    try:
        for tensor, data in saved:
            tensor.data = data.to(dtype)
        yield
    finally:
        for tensor, data in saved:
            tensor.data = data


def expand(pairs: Sequence[Pair], ours: nn.Module) -> list[Pair]:
    """Pairs with `{i}` -> one for each i that our model has."""
    names = {name for name, _ in ours.named_modules()}
    found: list[Pair] = []
    for pair in pairs:
        numbers = range(1)
        if "{i}" in pair[0]:
            pattern = re.compile(re.escape(pair[0]).replace(r"\{i\}", "([0-9]+)"))
            numbers = range(sum(pattern.fullmatch(name) is not None for name in names))
        for i in numbers:
            filled = (pair[0].replace("{i}", str(i)), pair[1].replace("{i}", str(i)), *pair[2:])
            found.append(filled)
    return found


def make_rows(
    mine: Observed, theirs: Observed, pairs: Sequence[Pair], parameters: Mapping[str, float], tolerance: float
) -> list[Row]:
    """The table: inputs, modules, outputs, and the parameters that lie in none of the modules."""
    rows = []
    for name, gradient in mine.inputs.items():
        other = theirs.inputs[name]
        distance = difference(gradient, other)
        rows.append(Row("input", name, name, shape(gradient), shape(other), gradient=distance, tolerance=tolerance))
    inside = owners(parameters, [pair[0] for pair in pairs])
    for pair in pairs:
        a, b = mine.blocks.get(pair[0]), theirs.blocks.get(pair[1])
        if a is not None and b is not None:
            b = pair[2](b) if len(pair) == 3 else b
            rows.append(make_row("block", pair[0], pair[1], a, b, inside[pair[0]], tolerance))
        elif a is not None or b is not None:  # one of the two was not used
            ran, idle = (None if tensor is None else shape(tensor) for tensor in (a, b))
            rows.append(Row("block", pair[0], pair[1], ran, idle, tolerance=tolerance))
    for name, output in theirs.outputs.items():
        if name in mine.outputs:
            rows.append(make_row("output", name, name, mine.outputs[name], output, {}, tolerance))
        else:
            rows.append(Row("output", name, name, None, shape(output), tolerance=tolerance))
    if rest := inside[""]:
        worst = max(rest, key=rest.__getitem__)
        rows.append(Row("parameters", REST, "", (), (), None, rest[worst], {}, worst, tolerance))
    return rows


def owners(parameters: Mapping[str, float], modules: Sequence[str]) -> dict[str, dict[str, float]]:
    """Each parameter's gradient difference under the innermost of these modules that holds it, "" for none."""
    found: dict[str, dict[str, float]] = {name: {} for name in (*modules, "")}
    for name, distance in parameters.items():
        holders = [module for module in modules if name.startswith(f"{module}.")]
        found[max(holders, key=len, default="")][name] = distance
    return found


def make_row(
    kind: str, ours: str, reference: str, a: Tensor, b: Tensor, gradients: Mapping[str, float], tolerance: float
) -> Row:
    """One module's or one output's row."""
    worst = max(gradients, key=gradients.__getitem__) if gradients else ""
    gradient = gradients[worst] if gradients else None
    return Row(kind, ours, reference, shape(a), shape(b), difference(a, b), gradient, {}, worst, tolerance)


def shape(tensor: Tensor) -> tuple[int, ...]:
    """As plain numbers."""
    return tuple(tensor.shape)
