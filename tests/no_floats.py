"""
No float can reach money: a static check of the apps that hold it (`make floats`).

mypy infers the type of every expression of these packages; one whose type is float, or may be, is named. So it finds
`1.5` and `float(x)` as well as `a / b` of two ints, `timedelta.total_seconds()`, and a float that a library returns.
What mypy cannot see is looked for apart: floating types in SQL, and FloatField. Values that come from outside as `Any`
are checked where they are read: a rate's terms in `billing.rating.charges`, a catalogue in `billing.catalog.document`.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import GetSetDescriptorType
from typing import NamedTuple

from mypy import build
from mypy.main import process_options
from mypy.nodes import Expression, MypyFile, Node, TypeInfo
from mypy.types import Instance, Type, UnionType, get_proper_type

ROOT = Path(__file__).resolve().parents[1]
MONEY_APPS = ("billing", "ledger", "promotions")
# A line that refuses floats has to name them.
REFUSES = "refuses floats"
# Where a float is no money: what the file computes instead.
EXEMPT = {"billing/charts.py": "coordinates of a drawing", "billing/stripe/budget.py": "seconds to sleep"}
_FLOATING_SQL = re.compile(r"\b(double\s+precision|float[48]?|real)\b(?!\s+(time|customers?))", re.IGNORECASE)
_SQL_CASTS = re.compile(r"::\s*(double\s+precision|float[48]?|real)\b", re.IGNORECASE)
_MODEL_FIELD = re.compile(r"\bFloatField\b")
# Of mypy's nodes, what leads out of the file that is walked.
_REFERENCES = frozenset({"info", "node", "type_object"})
_parts_of: dict[str, frozenset[str]] = {}


class Finding(NamedTuple):
    """A place where a float may be: the file below the root, its line, and what was found there."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def findings(packages: Sequence[str] = MONEY_APPS) -> list[Finding]:
    """Return every place of the packages, below the working directory, where a float may be. Takes a whole mypy run."""
    found = {*_typed(packages), *_written(packages)}
    return sorted(one for one in found if one.path not in EXEMPT)


def _typed(packages: Sequence[str]) -> Iterator[Finding]:
    sources, options = process_options(list(packages))
    options.export_types = options.preserve_asts = True
    options.incremental = False
    result = build.build(sources, options)
    if result.errors:
        raise SystemExit("\n".join(["mypy finds errors, so that nothing can be said of floats:", *result.errors]))
    for name, tree in result.files.items():
        if name.partition(".")[0] not in packages or ".migrations" in name:
            continue
        path = str(Path(tree.path).relative_to(Path.cwd()) if Path(tree.path).is_absolute() else tree.path)
        lines = Path(tree.path).read_text().splitlines()
        for node in _walk(tree):
            found = result.types.get(node) if isinstance(node, Expression) else None
            if found is not None and _may_be_float(found) and REFUSES not in lines[node.line - 1]:
                yield Finding(path, node.line, f"{found} {lines[node.line - 1].strip()[:80]}")


def _may_be_float(found: Type) -> bool:
    """Whether a value of this type can be a float. What Django lets one assign to a field is not what it holds."""
    found = get_proper_type(found)
    if isinstance(found, UnionType):
        names = {item.type.name for item in map(get_proper_type, found.items) if isinstance(item, Instance)}
        return "float" in names and "Combinable" not in names
    return isinstance(found, Instance) and found.type.fullname == "builtins.float"


def _walk(tree: MypyFile) -> Iterator[Node]:
    """Yield every node of a file. mypy's own visitors are compiled and cannot be inherited from."""
    stack: list[object] = [tree]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if isinstance(node, list | tuple):
            stack.extend(node)
        elif isinstance(node, Node) and not isinstance(node, TypeInfo) and id(node) not in seen:
            if isinstance(node, MypyFile) and node is not tree:
                continue
            seen.add(id(node))
            yield node
            stack.extend(getattr(node, name, None) for name in _parts(type(node)))


def _parts(kind: type) -> frozenset[str]:
    """Return the names of the attributes by which a kind of node holds others, worked out once."""
    if kind.__name__ not in _parts_of:
        held = {name for base in kind.__mro__ for name, value in vars(base).items() if _is_part(name, value)}
        _parts_of[kind.__name__] = frozenset(held)
    return _parts_of[kind.__name__]


def _is_part(name: str, value: object) -> bool:
    return isinstance(value, GetSetDescriptorType) and name not in _REFERENCES


def _written(packages: Sequence[str]) -> Iterator[Finding]:
    """Floating columns and casts, in SQL files and in SQL that Python holds."""
    for package in packages:
        for path in sorted(Path(package).rglob("*")):
            if path.suffix not in (".py", ".sql"):
                continue
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                told = line.partition("--")[0] if path.suffix == ".sql" else line
                pattern = _FLOATING_SQL if path.suffix == ".sql" else _SQL_CASTS
                if pattern.search(told) or _MODEL_FIELD.search(told):
                    yield Finding(str(path), number, line.strip()[:80])


def main() -> int:
    found = findings()
    for one in found:
        print(one)
    print(f"{len(found)} places where a float may reach money, in {', '.join(MONEY_APPS)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
