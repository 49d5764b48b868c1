"""Every stage is a plain command: flags from the signature, one clear line on a user's error."""

import errno
import gc
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxrflow.config.parsing import setting
from cxrflow.config.stages import (
    Output,
    build_parser,
    call_stage,
    check_outputs,
    convert_arguments,
    explain_error,
    importing_much,
    parameter_meanings,
)
from cxrflow.errors import CxrflowError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
STAGES = sorted(path.stem for path in SCRIPTS.glob("*.py"))


@dataclass(frozen=True)
class Knobs:
    """Knobs."""

    size_px: int = setting("side", 8, unit="px", minimum=1)


def example(
    *, path: Path, names: list[str], knobs: Knobs, extra: Path | None = None, rate: float = 0.5, threads: int = 1
) -> None:
    """Do it.

    path: a file,
        over two lines.
    names: some names.
    knobs: the knobs.
    extra: one more, 5 % of it.
    rate: a share.
    threads: how many.
    """


def test_flags_follow_the_signature() -> None:
    values = vars(build_parser(example).parse_args(["--path", "a b", "--names", "x", "y", "--knobs", '{"size_px": 9}']))
    converted = convert_arguments(example, values)
    rest = {"extra": None, "rate": 0.5, "threads": 1}
    assert converted == {"path": Path("a b"), "names": ["x", "y"], "knobs": Knobs(9), **rest}
    assert parameter_meanings(example)["path"] == "a file, over two lines."


def test_help_shows_meaning_unit_range_and_default() -> None:
    text = build_parser(example).format_help()
    assert "size_px (int, px, at least 1, default 8): side" in text
    assert "5 % of it" in text


def test_settings_are_checked_key_by_key() -> None:
    for json_text, words in [
        ('{"size": 1}', "Did you mean size_px?"),
        ("{", "not valid JSON"),
        ('{"size_px": 0}', "out of range"),
        ('{"size_px": 8, "size_px": 9}', "gives size_px twice"),
    ]:
        with pytest.raises(CxrflowError, match="--knobs") as raised:
            convert_arguments(example, {"knobs": json_text})
        assert words in str(raised.value)


def test_a_flag_that_is_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser(example).parse_args(["--path", "a", "--names", "x", "--knobs", "{}", "--path", "a"])
    assert "--path is given twice" in capsys.readouterr().err


def test_starred_parameters_need_no_flag() -> None:
    calls = []

    def ask(*files: Path, loud: bool = False) -> None:
        """Ask.

        files: some files, 5 % of all
        loud: say it twice
        """
        calls.append((files, loud))

    parser = build_parser(ask)
    assert "5 % of all" in parser.format_help()
    call_stage(ask, vars(parser.parse_args(["a b", "c", "--loud"])))
    assert calls == [((Path("a b"), Path("c")), True)]
    assert vars(parser.parse_args(["a"]))["loud"] is False
    for words in (["--loud"], ["a", "--loud=yes"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)


@pytest.mark.parametrize(
    "flag",
    [*(f"--rate={text}" for text in ("nan", "inf", "-Infinity", "1e999", "much")), "--threads=0", "--threads=-3"],
)
def test_a_flag_takes_finite_numbers_and_counts_from_one(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser(example).parse_args(["--path", "x", "--names", "--knobs", "{}", flag])
    assert f"argument {flag.partition('=')[0]}" in capsys.readouterr().err


def test_an_error_of_the_system_names_the_file_and_the_remedy() -> None:
    said = explain_error(OSError(errno.ENOSPC, "No space left on device", "images.npy"))
    assert (
        said == "images.npy: the disk is full: free space there and run the same command again; finished work is kept"
    )
    assert explain_error(OSError(errno.EIO, "Input/output error")) is None


def test_too_little_memory_of_a_gpu_names_the_settings() -> None:
    error = type("OutOfMemoryError", (RuntimeError,), {})
    said = explain_error(error("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."))
    assert said is not None
    assert "train.batch_size" in said
    assert "evaluate.batch_size" in said
    assert said.endswith("CUDA out of memory")
    assert explain_error(RuntimeError("a bug")) is None


def test_a_parameter_without_a_meaning_is_refused() -> None:
    def silent(*, path: Path) -> None:
        """Do it."""

    with pytest.raises(TypeError, match="path: meaning"):
        build_parser(silent)


def test_a_reader_that_leaves_ends_a_stage_without_a_word() -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from cxrflow.config.stages import run_stage\n"
        "def count() -> None:\n"
        "    '''Count.'''\n"
        "    for number in range(10**6): print(number)\n"
        "run_stage(count)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == "0\n"
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 141


EXPLAIN_ALL = """
import contextlib, io, json, runpy, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
sys.modules["snakemake"] = sys.modules["pydantic"] = None  # an import of them fails
texts = {}
for stage in sys.argv[2:]:
    sys.argv = [stage, "--help"]
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as said, contextlib.suppress(SystemExit):
        runpy.run_path(str(Path(sys.path[0], f"{stage}.py")), run_name="__main__")
    said.flush()
    texts[stage] = said.buffer.getvalue().decode()
print(json.dumps(texts))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What every stage prints with --help where Snakemake is not installed; in one process: each imports much."""
    command = [sys.executable, "-c", EXPLAIN_ALL, SCRIPTS, *STAGES]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "120"})
    assert run.returncode == 0, run.stderr
    texts: dict[str, str] = json.loads(run.stdout)
    return texts


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself_and_never_needs_snakemake(helps: dict[str, str], stage: str) -> None:
    assert f"python scripts/{stage}.py" in helps[stage], "the docstring shows no command to copy"
    assert "Reads" in helps[stage]
    assert "%%" not in helps[stage]
    assert not re.search(r"\S {5,}--", helps[stage]), (
        "a command over two lines is printed on one: is the docstring raw?"
    )


def test_no_garbage_is_looked_for_while_much_is_imported() -> None:
    assert gc.isenabled()
    try:
        with importing_much():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def write_two(*, index: list[Path], split: Output, n: int = 3) -> None: ...


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    table, link = tmp_path / "a.csv", tmp_path / "link"
    link.symlink_to("a.csv")
    for split in (table, link):
        with pytest.raises(CxrflowError, match=r"is given as index and as split"):
            check_outputs(write_two, {"index": [table], "n": 3, "split": split})
        table.touch()
    with pytest.raises(CxrflowError, match="is a folder, and a file is to be written"):
        check_outputs(write_two, {"index": [table], "split": tmp_path})
    check_outputs(write_two, {"index": [table, table, tmp_path], "split": tmp_path / "b.csv"})
    check_outputs(write_two, {"index": [Path("/dev/null")], "split": Path("/dev/null")})


def test_a_stage_checks_its_outputs_first(tmp_path: Path) -> None:
    flags = [
        "--index",
        "none.csv",
        "--dataset",
        "a",
        "--groups",
        "none.csv",
        "--settings",
        "{}",
        "--split",
        tmp_path,
        "--test",
        "test.csv",
    ]
    command = [sys.executable, SCRIPTS / "split.py", *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == (
        f"error: {tmp_path} is a folder, and a file is to be written: name a file in it, or another name\n"
    )
