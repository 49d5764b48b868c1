"""Imports run in one direction: each folder of the library knows only those that the data passes before it."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
# In the order of the data. `files` and `config` are the ground; `operate` lies beside the way, and no stage imports it.
LAYERS = ("files", "config", "data", "models", "results", "compare", "checks", "select", "deliver", "report", "operate")
OPERATING = {"plan", "status", "recover", "slurm_check", "slurm_site"}  # commands of a user, not stages
GROUND_OF_PHANTOMS = (
    "cxrflow.config.settings",
    "cxrflow.config.parsing",
    "cxrflow.config.readers",
    "cxrflow.errors",
    "cxrflow.files.",
)


def read_imports(path: Path) -> list[str]:
    """Return the dotted names of the project's modules that a file imports, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] in ("cxrflow", "phantoms")]


def find_layer(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "cxrflow" and len(parts) > 1 else parts[0]


def modules_of(package: str) -> dict[str, list[str]]:
    """Return {path below scripts: imports} of every module of a package."""
    return {str(path.relative_to(SCRIPTS)): read_imports(path) for path in sorted((SCRIPTS / package).rglob("*.py"))}


def test_every_folder_has_its_place() -> None:
    folders = {path.name for path in (SCRIPTS / "cxrflow").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(LAYERS)
    assert {path.name for path in (SCRIPTS / "cxrflow").glob("*.py")} == {"__init__.py", "errors.py"}


@pytest.mark.parametrize("layer", LAYERS)
def test_no_import_runs_back(layer: str) -> None:
    later = {*LAYERS[LAYERS.index(layer) + 1 :], "phantoms"}
    back = {
        f"{path} -> {name}"
        for path, names in modules_of(f"cxrflow/{layer}").items()
        for name in names
        if find_layer(name) in later
    }
    assert back == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = modules_of(".")
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in modules}
    imports = {
        name: {
            known
            for imported in modules[path]
            for known in (imported, imported.rpartition(".")[0])
            if known in names and known != name
        }
        for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(imports[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(imports):
        visit(name, ())


def test_phantoms_import_only_the_ground() -> None:
    foreign = [
        f"{path} -> {name}"
        for path, names in modules_of("phantoms").items()
        for name in names
        if not name.startswith(("phantoms", *GROUND_OF_PHANTOMS))
    ]
    assert foreign == []


def test_no_stage_imports_what_lies_beside_the_way() -> None:
    stages = {path.stem: read_imports(path) for path in SCRIPTS.glob("*.py") if path.stem not in OPERATING}
    assert len(stages) > 10
    assert [name for name, imports in stages.items() if any(find_layer(each) == "operate" for each in imports)] == []
