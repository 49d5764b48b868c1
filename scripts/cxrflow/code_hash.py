"""A hash of the code that a stage depends on: what it computes, without comments, docstrings and layout.

Rules carry it among their params, so that editing an unrelated module, a comment or a docstring reruns nothing and a
changed computation reruns what it feeds. Modules that only carry settings or look-up tables are left out: rules carry
the slice of them that they use, so that adding a backbone never retrains the others.
"""

import ast
import functools
import hashlib
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent
PACKAGE = "cxrflow"
# Their content reaches the rules as params, or cannot change a result (how errors and progress are shown).
LEFT_OUT = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "code_hash",
        "data.readers",
        "errors",
        "leases",
        "models.backbones",
        "models.deadline",
        "models.interrupts",
        "models.launch",
        "models.progress",
        "models.training_log",
        "settings",
        "settings_core",
        "stages",
        "study",
    )
)


def code_hash(stage: str, *also: str) -> str:
    """Return 12 hex digits for the code of scripts/<stage>.py and all of the library it imports, directly or not.

    Args:
        stage: name of a file in scripts/, without `.py`.
        also: dotted names of modules that the stage finds through a left-out table, such as one dataset's reader.
    """
    modules: dict[str, str] = {}
    _collect(stage, SCRIPTS / f"{stage}.py", modules)
    for name in also:
        _collect(name, SCRIPTS / Path(*name.split(".")).with_suffix(".py"), modules)
    text = "\n".join(f"{name}\n{body}" for name, body in sorted(modules.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _collect(name: str, path: Path, modules: dict[str, str]) -> None:
    """Add a module and what it imports from the package to `modules`, as {dotted name: code}."""
    code, imported = read_module(path)
    modules[name] = code
    for other in imported:
        file = None if other in LEFT_OUT or other in modules else _file_of(SCRIPTS, other)
        if file is not None:
            _collect(other, file, modules)


@functools.cache
def read_module(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return a module's code as a syntax tree without docstrings, and the dotted names it imports from the package."""
    imported: list[str] = []
    code = _write_node(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)), imported)
    return code, tuple(name for name in imported if name.startswith(PACKAGE))


def _write_node(node: ast.AST, imported: list[str]) -> str:
    """Return what `ast.dump` of Python 3.11 returns, docstrings left out, and append what is imported.

    Done by hand because every plan and every job on a cluster waits for it: `ast.dump` and two walks take twice as
    long, and its form changes with the version of Python.
    """
    kind = node.__class__
    if kind in _WITH_DOCSTRING:
        _drop_docstring(node)
    elif kind in (ast.Import, ast.ImportFrom):
        imported += _imported_names(node)
    fields = []
    for name in kind._fields:
        value = getattr(node, name)
        if value is not None or getattr(kind, name, ...) is not None:  # the class has None where a field is optional
            fields.append(f"{name}={_write_value(value, imported)}")
    return f"{kind.__name__}({', '.join(fields)})"


def _write_value(value: object, imported: list[str]) -> str:
    if isinstance(value, ast.AST):
        return _write_node(value, imported)
    if isinstance(value, list):
        return f"[{', '.join([_write_value(each, imported) for each in value])}]"
    return repr(value)


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _drop_docstring(node: Any) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:] or [ast.Pass()]


def _imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


@functools.cache
def _file_of(scripts: Path, name: str) -> Path | None:
    """Return the file of a dotted module name, or None where the name is no module (a function, a class)."""
    base = scripts / Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
