"""Which code made a result: its version, and a hash of what a stage depends on without comments, docstrings and layout.

Rules have it among their params: editing an unrelated module, a comment or a docstring reruns nothing, and a changed
computation reruns everything that follows from it. Modules of settings and tables are left out because each rule has
the part that it uses among its params; adding a backbone, for example, never retrains the others.
"""

import ast
import functools
import hashlib
import tomllib
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]
UNKNOWN = "of unknown version"
PACKAGES = ("cxrflow", "phantoms")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Their content reaches the rules as params, or cannot change a result (paths, how errors and progress show, records).
LEFT_OUT = frozenset(
    f"cxrflow.{name}"
    for name in (
        "config.allocation",
        "config.backbones",
        "config.environment",
        "config.layout",
        "config.parsing",
        "config.readers",
        "config.settings",
        "config.stages",
        "config.study",
        "errors",
        "files.code_hash",
        "files.leases",
        "files.openings",
        "models.progress",
    )
)


def find_own_version(root: Path = SCRIPTS.parent) -> str:
    """Return the version in the pyproject.toml of `root`, or that it is unknown: the code is not installed."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return UNKNOWN
    return str(project["version"])


@functools.cache
def code_hash(stage: str, *also: str) -> str:
    """Return 12 hex digits for the code of scripts/<stage>.py and all of the library it imports, directly or not.

    Args:
        stage: name of a file in scripts/, without `.py`.
        also: dotted names of modules that the stage finds through a left-out table, such as one dataset's reader.
    """
    code: dict[str, str] = {}
    waiting = [stage, *also]
    while waiting:
        name = waiting.pop()
        if name not in code:
            code[name], imported = read_module(name)
            waiting += imported
    text = "\n".join(f"{name}\n{body}" for name, body in sorted(code.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def read_module(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's syntax tree without docstrings as text, and the counted modules of the project it imports."""
    path = find_module(name)
    if path is None:
        raise ValueError(f"there is no module {name} in {SCRIPTS}")
    tree = ast.parse(path.read_bytes(), filename=str(path))
    counted = tuple(each for each in list_imports(tree) if each not in LEFT_OUT)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree), counted


def list_imports(tree: ast.Module) -> list[str]:
    """Return the modules of the project that a module imports, wherever in it the import stands."""
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [each for each in imported if each.startswith(PACKAGES) and find_module(each)]


def collect_modules(name: str) -> dict[str, Path]:
    """Return {dotted name: file} of a module and of all that it needs of the project, the packages around included."""
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        path = find_module(name)
        if path is not None and name not in found:
            found[name] = path
            waiting += [*list_imports(ast.parse(path.read_bytes())), *filter(None, [name.rpartition(".")[0]])]
    return found


def find_module(name: str) -> Path | None:
    """Return the file of a module or package by its dotted name; None: it is a function or a class."""
    path = SCRIPTS.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
