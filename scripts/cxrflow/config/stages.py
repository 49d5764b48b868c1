"""Turn a stage's function into a command: flags, types and --help come from its signature and docstring.

Every stage in scripts/ ends with `run_stage(its_function)`. The function takes keyword-only parameters; each of them
has a line `name: meaning` in the docstring. A settings dataclass is one flag that takes JSON, checked key by key. A
parameter `*names` takes what stands on the command line without a flag, one or more.
"""

import argparse
import contextlib
import dataclasses
import errno
import gc
import inspect
import json
import math
import os
import re
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cxrflow.config.allocation import check_allocation
from cxrflow.config.docs import describe_settings
from cxrflow.config.environment import check_environment
from cxrflow.config.parsing import parse_settings, settings_dict
from cxrflow.errors import CxrflowError, escape_controls
from cxrflow.files.atomic import refuse_folder
from cxrflow.files.provenance import write_record

Output = Annotated[Path, "output"]  # a file that a stage makes: recorded with what it was made from
OutputFolder = Annotated[Path, "output folder"]  # or a folder of such
# What an operating system says when the fault is the machine's state and not the code's: the remedy per error.
REMEDIES = {
    errno.ENOSPC: "the disk is full: free space there and run the same command again; finished work is kept",
    errno.EDQUOT: "your disk quota is used up: free space there and run the same command again; finished work is kept",
    errno.EACCES: "permission denied: check who owns it",
    errno.EROFS: "the file system is read-only: choose another folder",
}
GPU_MEMORY = (
    "the GPU's memory is used up. In a training lower train.batch_size or set train.precision to bfloat16, else lower"
    " evaluate.batch_size; or ask for a GPU with more memory (gpu_model in profiles/slurm/site.yaml)"
)
UNREAD_STATUS = 128 + signal.SIGPIPE  # what a shell reports for a command whose reader has left
SIGTERM_STATUS = 128 + signal.SIGTERM  # what a shell reports for a process that SIGTERM ended: 143


@contextlib.contextmanager
def importing_much() -> Iterator[None]:
    """Look for no garbage while packages are imported in this block, nor later among what they leave in memory.

    A training loads 2,300 modules, half a million objects that stay; looking them through again and again takes a tenth
    of the 4 CPU-seconds of their import. An environment that has changed meanwhile is told before.
    """
    leave_if_environment_changed()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def leave_if_environment_changed() -> None:
    """Exit 1 with what has changed since Snakemake was started, before an import can stumble over it."""
    try:
        check_environment()
    except CxrflowError as error:
        sys.exit(f"error: {error}")


def run_stage(function: Callable[..., None]) -> None:
    """Parse the command line for `function`, run it, and exit 1 with one clear line on a user's error."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log is read while it is written
    arguments = build_parser(function).parse_args()
    leave_if_environment_changed()
    try:
        check_outputs(function, vars(arguments))
        values = convert_arguments(function, vars(arguments))
        if "device" in values:  # a network computes, which is what takes hours
            gpus = 0 if values["device"] == "cpu" else values.get("gpus", 1)
            hints = typing.get_type_hints(function, include_extras=True)
            folders = [values[name].parent for name, hint in hints.items() if hint is Output]
            check_allocation(gpus, values["threads"], folders)
        call_stage(function, values)
        record_outputs(function, values)
    except BrokenPipeError:
        leave_unread()
    except (CxrflowError, OSError, RuntimeError) as error:
        remedy = explain_error(error)
        if remedy is None:
            raise
        sys.exit(f"error: {remedy}")
    except KeyboardInterrupt:
        sys.exit(130)


def check_outputs(function: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Refuse names, before any work, under which something could not be written or would be lost.

    Raises:
        CxrflowError: an output is a folder, or two parameters name one file, which may not exist yet. Pipes and devices
            may be named twice.
    """
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        if hint is Output:
            refuse_folder(values[name])
    names: dict[Path, str] = {}
    for name, value in values.items():
        for path in value if isinstance(value, list) else [value]:
            is_file = isinstance(path, Path) and (path.is_file() or not path.exists())
            if is_file and names.setdefault(path.resolve(), name) != name:
                raise CxrflowError(
                    f"{path} is given as {names[path.resolve()]} and as {name}: what is written for one would be lost"
                    " for the other, so name two files"
                )


def explain_error(error: Exception) -> str | None:
    """Return what went wrong and what a user can do about it; None where it is a fault of the code."""
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return f"{escape_controls(str(error.filename or 'writing a file'))}: {REMEDIES[error.errno]}"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which few stages import
        return f"{GPU_MEMORY}. {str(error).partition('. ')[0]}"
    return escape_controls(str(error), keep="\n") if isinstance(error, CxrflowError) else None


def leave_on_sigterm(report: bool = True) -> None:
    """Leave with status 143 at SIGTERM, which Slurm sends before a time limit, with temporary files removed.

    An exception instead of the sudden default, so that half-written files are removed on the way out.

    Args:
        report: print why; of several processes of one command, one does.
    """

    def leave(_number: int, _frame: types.FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        if report:
            report_sigterm()
        sys.exit(SIGTERM_STATUS)

    signal.signal(signal.SIGTERM, leave)


def report_sigterm() -> None:
    """Print why the stage ends and how to resume."""
    print("stopped by SIGTERM: run the same command again to resume", flush=True)


def leave_unread() -> NoReturn:
    """End without a word where nobody reads what is printed any more, as in `... | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered: the exit writes it
    sys.exit(UNREAD_STATUS)


def build_parser(function: Callable[..., None]) -> argparse.ArgumentParser:
    """Build the argument parser of a stage.

    Raises:
        TypeError: a parameter has no line `name: meaning` in the docstring, or a type that no flag can carry.
    """
    hints = typing.get_type_hints(function)
    parser = argparse.ArgumentParser(
        description=inspect.getdoc(inspect.getmodule(function)),
        epilog="\n\n".join(
            f"keys of {_flag(name)}, each optional unless required:\n{describe_settings(hint)}"
            for name, hint in hints.items()
            if dataclasses.is_dataclass(hint) and isinstance(hint, type)
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    meanings = parameter_meanings(function)
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = hints[name]
        if name not in meanings:
            raise TypeError(f"{function.__name__}: the docstring has no line '{name}: meaning'")
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            parser.add_argument(name, nargs="+", type=annotation, metavar=name.upper(), help=_escape(meanings[name]))
            continue
        required = parameter.default is inspect.Parameter.empty
        parser.add_argument(
            _flag(name),
            dest=name,
            required=required,
            default=None if required else parameter.default,
            help=_escape(meanings[name]),
            **_argument_shape(annotation),
        )
    return parser


def call_stage(function: Callable[..., None], values: dict[str, Any]) -> None:
    """Call a stage's function with its parameters by name; those of `*names` go in order."""
    parameters = inspect.signature(function).parameters.values()
    in_order = [each.name for each in parameters if each.kind is inspect.Parameter.VAR_POSITIONAL]
    positional = [value for name in in_order for value in values[name]]
    function(*positional, **{name: value for name, value in values.items() if name not in in_order})


def convert_arguments(function: Callable[..., None], values: dict[str, Any]) -> dict[str, Any]:
    """Turn the JSON of settings flags into their dataclasses; leave the rest as argparse typed it."""
    hints = typing.get_type_hints(function)
    return {
        name: _settings_from_json(hints[name], value, _flag(name))
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, str)
        else value
        for name, value in values.items()
    }


def record_outputs(function: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Record what a stage has made, and of what: its parameters of type Output, and all that are no paths."""
    hints = typing.get_type_hints(function, include_extras=True)
    settings = {
        name: settings_dict(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
        if not isinstance(value, Path) and hints[name] != list[Path]
    }
    if outputs := [values[name] for name, hint in hints.items() if hint in (Output, OutputFolder)]:
        write_record(Path(inspect.getfile(function)).stem, settings, outputs)


def parameter_meanings(function: Callable[..., None]) -> dict[str, str]:
    """Return the `name: meaning` lines of a docstring, continuation lines joined."""
    meanings: dict[str, str] = {}
    current = None
    for line in (inspect.getdoc(function) or "").splitlines():
        match = re.match(r"\s*([a-z_0-9]+): (.+)", line)
        if match:
            current = match[1]
            meanings[current] = match[2].strip()
        elif line.strip() and current and line.startswith("    "):
            meanings[current] += " " + line.strip()
        else:
            current = None
    return meanings


def _settings_from_json(cls: type, text: str, where: str) -> Any:
    def pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _value in pairs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise CxrflowError(f"{where} gives {', '.join(sorted(twice))} twice, and only the last would count")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=pairs_once)
    except ValueError as error:
        raise CxrflowError(f"{where} is not valid JSON ({error}): {text}") from None
    return parse_settings(cls, value, where)


class StoreOnce(argparse.Action):
    """Refuses a flag that is given twice: argparse would keep the last without a word."""

    is_given = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, flag: str | None = None) -> None:
        """Store what the flag gives."""
        if self.is_given:
            parser.error(f"{flag} is given twice, and only the last would count: leave one of them")
        self.is_given = True
        setattr(namespace, self.dest, values)


def _argument_shape(annotation: Any) -> dict[str, Any]:
    """Return argparse's type, nargs and metavar for a parameter's annotation; a bool is a switch without a value."""
    if annotation is bool:
        return {"action": "store_true"}
    if isinstance(annotation, types.UnionType):
        (annotation,) = [member for member in annotation.__args__ if member is not type(None)]
    if dataclasses.is_dataclass(annotation):
        return {"action": StoreOnce, "type": str, "metavar": "JSON"}
    many = {"nargs": "*"} if typing.get_origin(annotation) is list else {}
    kind = annotation.__args__[0] if many else annotation
    if kind not in (str, int, float, Path):
        raise TypeError(f"no command-line flag can carry {annotation}")
    read = {float: finite_number, int: positive_count}.get(kind, kind)
    return {"action": StoreOnce, "type": read, "metavar": kind.__name__.upper(), **many}


def finite_number(text: str) -> float:
    """Return the number that a flag's text means; with nan or inf, every comparison with a limit would be passed."""
    if not math.isfinite(number := float(text)):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
    return number


def positive_count(text: str) -> int:
    """Return the count that a flag's text means: threads, images, pixels, of which there is at least one."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return number


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _escape(text: str) -> str:
    """Return text as argparse takes it, to which % begins a format."""
    return text.replace("%", "%%")
