"""A hash of the code that a stage depends on: what it computes, without comments, docstrings and layout.

Rules carry it among their params, so that editing an unrelated module, a comment or a docstring reruns nothing and a
changed computation reruns what it feeds. Modules that only carry settings or look-up tables are left out: rules carry
the slice of them that they use, so that adding a backbone never retrains the others.
"""

import ast
import functools
import hashlib
import sys
from pathlib import Path
from typing import Any

from cxrflow.files.hash_memory import HashMemory

SCRIPTS = Path(__file__).resolve().parents[2]
PACKAGES = ("cxrflow", "phantoms")
MEMORY = Path(".snakemake/code_hashes.json")  # beside what Snakemake keeps, in the folder that it and its jobs run in
# Their content reaches the rules as params, or cannot change a result (how errors and progress are shown).
LEFT_OUT = frozenset(
    f"cxrflow.{name}"
    for name in (
        "config.backbones",
        "config.parsing",
        "config.readers",
        "config.settings",
        "config.stages",
        "config.study",
        "errors",
        "files.code_hash",
        "files.hash_memory",
        "files.leases",
        "models.deadline",
        "models.interrupts",
        "models.launch",
        "models.progress",
        "models.training_log",
    )
)


def code_hash(stage: str, *also: str) -> str:
    """Return 12 hex digits for the code of scripts/<stage>.py and all of the library it imports, directly or not.

    Args:
        stage: name of a file in scripts/, without `.py`.
        also: dotted names of modules that the stage finds through a left-out table, such as one dataset's reader.
    """
    return _open_memory(SCRIPTS).recall(" ".join((stage, *also)), lambda: _hash_modules(stage, *also))


@functools.cache
def _open_memory(folder: Path) -> HashMemory:
    """Return the hashes of scripts that have not changed since: to read their code takes every plan and job 0.2 s."""
    state = hashlib.sha256(sys.version.encode())
    for name, source in read_scripts(folder).items():
        state.update(f"\0{name}\0{len(source)}\0".encode() + source)
    return HashMemory(MEMORY, state.hexdigest())


@functools.cache
def read_scripts(folder: Path) -> dict[str, bytes]:
    """Return the source of every module in a folder by its dotted name, all read at one time."""
    names = {path: path.relative_to(folder).with_suffix("").parts for path in sorted(folder.rglob("*.py"))}
    return {".".join(parts).removesuffix(".__init__"): path.read_bytes() for path, parts in names.items()}


def _hash_modules(*names: str) -> str:
    modules: dict[str, str] = {}
    for name in names:
        _collect(name, modules)
    text = "\n".join(f"{name}\n{body}" for name, body in sorted(modules.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _collect(name: str, modules: dict[str, str]) -> None:
    """Add a module and what it imports from the package to `modules`, as {dotted name: code}."""
    sources = read_scripts(SCRIPTS)
    modules[name], imported = read_module(sources[name], name)
    for other in imported:
        if other in sources and other not in LEFT_OUT and other not in modules:  # else a function or a class
            _collect(other, modules)


@functools.cache
def read_module(source: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's code as a syntax tree without docstrings, and the dotted names it imports from the package."""
    imported: list[str] = []
    code = _write_node(ast.parse(source, filename=name), imported)
    return code, tuple(name for name in imported if name.startswith(PACKAGES))


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
