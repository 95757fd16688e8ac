"""The definitions of the project's Python files and what each one does, as a hash.

A definition is a function, a method, a class (its head and what stands in its body beside the methods) or a name that
a module assigns. Its hash changes when what it does may have changed: docstrings, comments, annotations, line breaks
and the texts of raised errors change nothing, and neither does the Python version that computes it. A function or class
that only stands in a table (`KINDS = {"a": A, "b": B}`) counts there when it was used: a table that grows changes
nothing.

`used` is what a recording keeps: {file: hash} of what was read whole and {file: {definition: hash}} of what ran.
Needs only the standard library, and imports nothing of what it reads.
"""

import ast
import copy
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

Used = dict[str, "str | dict[str, str]"]
Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = ast.If | ast.Try | ast.With | ast.For | ast.While
ERROR_TEXT = " (error text)"  # behind a definition whose raised text the recorded output shows
FIELD_KINDS = ("ClassVar", "InitVar", "KW_ONLY")  # annotations that make another dataclass
# Methods that torch calls by itself on a module: a class that adds one behaves differently without anybody naming it.
CALLED_BY_TORCH = set(
    """
    forward train eval apply to half float double cpu cuda type extra_repr children named_children modules
    named_modules parameters named_parameters buffers named_buffers state_dict load_state_dict requires_grad_
    zero_grad _apply _get_name _save_to_state_dict _load_from_state_dict _named_members _call_impl get_extra_state
    """.split()
)


class Place(NamedTuple):
    """A definition: its file from the root, and its qualified name there."""

    file: str
    name: str


# ---------------------------------------------------------------- a syntax tree without what does nothing
class _Plain(ast.NodeTransformer):
    """Takes docstrings and annotations out; the text of a raised error is kept beside its `raise`, as `texts`."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for item in node.body:
            item.is_field = isinstance(item, ast.AnnAssign)  # type: ignore[attr-defined]
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """A field keeps its name and its place; elsewhere an annotated assignment is an assignment."""
        words = {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node.annotation)}
        if getattr(node, "is_field", False):
            node.annotation = ast.Constant(" ".join(kind for kind in FIELD_KINDS if kind in words))
            return self.generic_visit(node)
        if node.value is None:
            return None
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        node.texts = []  # type: ignore[attr-defined]
        if isinstance(node.exc, ast.Call):
            for given in (*node.exc.keywords, *(_Argument(node.exc.args, n) for n in range(len(node.exc.args)))):
                if any(isinstance(getattr(part, "value", 0), str) for part in ast.walk(given.value)):
                    node.texts.append(given.value)  # type: ignore[attr-defined]
                    given.value = ast.Constant("text")
        return self.generic_visit(node)


class _Argument:
    """A place in a list of arguments, read and written as the `value` of a keyword is."""

    def __init__(self, arguments: list[ast.expr], number: int):
        self.arguments, self.number = arguments, number

    @property
    def value(self) -> ast.expr:
        return self.arguments[self.number]

    @value.setter
    def value(self, new: ast.expr) -> None:
        self.arguments[self.number] = new


def plain(text: str) -> ast.Module:
    """The syntax tree of Python code, without what does nothing."""
    tree: ast.Module = _Plain().visit(ast.parse(text))
    return tree


def shape(node: object) -> str:
    """A syntax tree as text, the same on every Python version: no positions, no empty fields."""
    if isinstance(node, list):
        return "[" + ",".join(map(shape, node)) + "]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{node!r}"
    if isinstance(node, ast.JoinedStr):
        node = ast.JoinedStr(_joined(node.values))
    parts = [
        f"{name}={shape(value)}"
        for name, value in ast.iter_fields(node)
        if value is not None and value != [] and name not in ("ctx", "kind", "type_comment")
    ]
    return f"{type(node).__name__}({','.join(parts)})"


def whole_shape(text: str) -> str:
    """Python code as text, the texts of its errors included."""
    tree = plain(text)
    return shape(tree) + "".join(shape(one) for part in ast.walk(tree) for one in getattr(part, "texts", []))


def _joined(pieces: list[ast.expr]) -> list[ast.expr]:
    """The pieces of an f-string with neighbouring texts as one; Python versions cut them differently."""
    joined: list[ast.expr] = []
    for piece in pieces:
        if not isinstance(piece, ast.Constant):
            joined.append(piece)
        elif joined and isinstance(joined[-1], ast.Constant):
            joined[-1] = ast.Constant(joined[-1].value + piece.value)
        elif piece.value:
            joined.append(piece)
    return joined


def short_hash(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


# ---------------------------------------------------------------- one file
class Source:
    """The definitions of one file by qualified name, and what its imports call by which name."""

    def __init__(self, text: str, package: str = ""):
        self.body = plain(text).body
        self.nodes: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, set[str]] = {}
        self.hashes: dict[str, str] = {}  # of functions, which no recording sees differently
        for statement in self.body:
            for name, target in imports(statement, package):
                self.imports.setdefault(name, set()).add(target)
            self._index(statement, statement)

    def _index(self, node: ast.AST, statement: ast.stmt) -> None:
        """Note what a statement of the module defines, also inside of `if` and `try`."""
        if isinstance(node, Function | ast.ClassDef):
            self._define(node, node.name)
        elif isinstance(node, BLOCKS | ast.ExceptHandler):
            for child in ast.iter_child_nodes(node):
                self._index(child, statement)
        elif isinstance(node, ast.stmt):
            for name in assigned(node):
                if statement not in self.nodes.setdefault(name, []):
                    self.nodes[name].append(statement)

    def _define(self, node: Function | ast.ClassDef, name: str) -> None:
        self.nodes.setdefault(name, []).append(node)
        for child in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(child, Function | ast.ClassDef):
                self._define(child, f"{name}.{child.name}")

    def kind(self, name: str) -> str:
        """ "function", "class", "data" or, where there is no such name, ""."""
        node = self.nodes.get(name, [None])[-1]
        if isinstance(node, Function):
            return "function"
        return "class" if isinstance(node, ast.ClassDef) else "data" if node else ""

    def at(self, line: int) -> list[str]:
        """What the module's statement at this line defines."""
        for name, nodes in self.nodes.items():
            for node in nodes if "." not in name else []:
                first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
                if first <= line <= (node.end_lineno or first):
                    return [one for one, others in self.nodes.items() if node in others]
        return []


def imports(node: ast.AST, package: str = "") -> Iterator[tuple[str, str]]:
    """The names that a statement's imports bind, and what each stands for: ("F", "torch.nn.functional")."""
    if isinstance(node, ast.Import):
        for one in node.names:
            yield (one.asname, one.name) if one.asname else (one.name.split(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        parts = package.split(".")
        above = [".".join(parts[: len(parts) - node.level + 1])] if node.level else []
        for one in node.names:
            yield one.asname or one.name, ".".join([*above, *([node.module] if node.module else []), one.name])
    elif isinstance(node, BLOCKS | ast.ExceptHandler):
        for child in ast.iter_child_nodes(node):
            yield from imports(child, package)


def assigned(statement: ast.stmt) -> set[str]:
    """The names that a statement assigns or, as `TABLE["a"] = 1`, `TABLE.update(...)`, changes."""
    if isinstance(statement, ast.Expr):
        call = statement.value
        base = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
        return {base.id} if isinstance(base, ast.Name) else set()
    if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
        return set()
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    found = set()
    for target in targets:
        for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            while isinstance(part, ast.Subscript | ast.Attribute | ast.Starred):
                part = part.value
            found |= {part.id} if isinstance(part, ast.Name) else set()
    return found


def chains(nodes: Iterable[ast.AST]) -> set[str]:
    """The names read in some code, each with the attributes asked of it: "F", "door.PICTURE_ENDINGS"."""
    found, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        parts: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            found.add(".".join([inner.id, *reversed(parts)]))
        else:
            waiting += ast.iter_child_nodes(inner)
    return found


# ---------------------------------------------------------------- all files
@functools.lru_cache(maxsize=1024)
def _source(text: str, package: str) -> Source:
    return Source(text, package)


class Definitions:
    """The definitions under a root, with hashes as a recording that used `used` sees them."""

    def __init__(self, root: Path, used: Used):
        self.root, self.used, self.sources = root, used, dict[str, Source | None]()

    def source(self, file: str) -> Source | None:
        """The definitions of a file; None where there is none."""
        if file not in self.sources:
            path = self.root / file
            package = ".".join(Path(file).parent.parts)
            self.sources[file] = _source(path.read_text("utf-8"), package) if path.is_file() else None
        return self.sources[file]

    def kind(self, place: Place) -> str:
        """ "function", "class", "data", or "" where there is no such definition."""
        source = self.source(place.file)
        return source.kind(place.name) if source else ""

    def holds_functions(self, file: str) -> bool:
        source = self.source(file)
        return source is not None and any(source.kind(name) == "function" for name in source.nodes)

    def hash(self, place: Place) -> str | None:
        """What a definition does, as a hash; None when it is gone."""
        name = place.name.removesuffix(ERROR_TEXT)
        source = self.source(place.file)
        if source is None or name not in source.nodes:
            return None
        if name != place.name:
            return short_hash("".join(shape(text) for text in self.texts(Place(place.file, name))))
        if source.kind(name) != "function":
            return self._hash(source, place)
        if name not in source.hashes:
            source.hashes[name] = self._hash(source, place)
        return source.hashes[name]

    def _hash(self, source: Source, place: Place) -> str:
        nodes = self.nodes(place)
        bound = [f"{root}={self._bound(source, root)}" for root in sorted({c.split(".")[0] for c in chains(nodes)})]
        extra = self._overriding(source, place) if source.kind(place.name) == "class" else []
        return short_hash("\n".join([*map(shape, nodes), *bound, *extra]))

    def _bound(self, source: Source, name: str) -> str:
        """What a name stands for in its module: what is imported, or something of its own."""
        return "|".join(sorted(source.imports.get(name, ()))) or ("here" if name in source.nodes else "")

    def _overriding(self, source: Source, place: Place) -> list[str]:
        """Methods of a class that can run unnamed or in place of another class's, but did not."""
        below = place.name + "."
        names = {name.removeprefix(below) for name in source.nodes if name.startswith(below)}
        ran = {name.split(".")[-1] for known in self.used.values() if isinstance(known, dict) for name in known}
        own = self.used.get(place.file, {})
        return [
            name
            for name in sorted(names)
            if (name in ran or name in CALLED_BY_TORCH or name.startswith("__")) and below + name not in own
        ]

    def nodes(self, place: Place) -> list[ast.AST]:
        """The code of a definition: without the methods of a class, without what a table names and nobody used."""
        source = self.source(place.file)
        assert source is not None
        found: list[ast.AST] = []
        for node in source.nodes[place.name]:
            if isinstance(node, Function):
                found.append(node)
                continue
            tables = _Tables(lambda chain: self._unused(place.file, chain))
            if isinstance(node, ast.ClassDef):
                head = copy.copy(node)
                head.body = [item for item in node.body if not isinstance(item, Function | ast.ClassDef)]
                node = head
            if (kept := tables.visit(copy.deepcopy(node))) is not None:
                found.append(kept)
        return found

    def texts(self, place: Place) -> list[ast.expr]:
        """The texts of the errors that a definition raises."""
        source = self.source(place.file)
        nodes = source.nodes.get(place.name, []) if source else []
        return [text for node in nodes for part in ast.walk(node) for text in getattr(part, "texts", [])]

    def _unused(self, file: str, chain: str) -> bool:
        """Whether a name stands for a function or class of the project of which the recording used nothing."""
        place = self.resolve(file, chain)
        if place is None or self.kind(place) not in ("function", "class"):
            return False
        known = self.used.get(place.file, {})
        return isinstance(known, dict) and not any(f"{name}.".startswith(f"{place.name}.") for name in known)

    def reads(self, place: Place) -> set[Place]:
        """The definitions that a definition names."""
        nodes = self.nodes(place)
        package = ".".join(Path(place.file).parent.parts)
        inside = dict(pair for node in nodes for part in ast.walk(node) for pair in imports(part, package))
        found = {self.resolve(place.file, chain, inside) for chain in chains(nodes)}
        return {one for one in found if one}

    def resolve(self, file: str, chain: str, inside: dict[str, str] | None = None) -> Place | None:
        """Where `chain`, a name with attributes as a file writes it, is defined; None outside of the project."""
        source = self.source(file)
        name, _, rest = chain.partition(".")
        if inside and name in inside:
            return self.find(f"{inside[name]}.{rest}".rstrip("."))
        if source is None:
            return None
        if name in source.nodes:
            return Place(file, name)
        found = (self.find(f"{target}.{rest}".rstrip(".")) for target in sorted(source.imports.get(name, ())))
        return next((one for one in found if one), None)

    def find(self, dotted: str) -> Place | None:
        """Where `package.module.name` is defined; a name that its module has imported is followed."""
        parts = dotted.split(".")
        for count in range(len(parts), 0, -1):
            stem = "/".join(parts[:count])
            file = next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if (self.root / name).is_file()), None)
            if file:
                return self.resolve(file, ".".join(parts[count:])) if count < len(parts) else None
        return None


class _Tables(ast.NodeTransformer):
    """Takes out of tables what `unused` says; an entry made alone, as `KINDS["a"] = A`, goes whole."""

    def __init__(self, unused):
        self.unused = unused

    def _drops(self, node: ast.AST | None) -> bool:
        named = chains([node]) if isinstance(node, ast.Name | ast.Attribute) else set()
        return any(self.unused(chain) for chain in named)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        entry = all(isinstance(target, ast.Subscript) for target in node.targets)
        return None if entry and self._drops(node.value) else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        entry = isinstance(node.value, ast.Call) and any(map(self._drops, node.value.args))
        return None if entry else self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        pairs = [(key, value) for key, value in zip(node.keys, node.values) if not self._drops(value)]
        node.keys, node.values = [key for key, _ in pairs], [value for _, value in pairs]
        return self.generic_visit(node)

    def _sequence(self, node: ast.Tuple | ast.List | ast.Set) -> ast.AST:
        node.elts = [item for item in node.elts if not self._drops(item)]
        return self.generic_visit(node)

    visit_Tuple = visit_List = visit_Set = _sequence
