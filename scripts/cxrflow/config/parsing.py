"""How a settings dataclass is written, checked against YAML or JSON, and turned into JSON.

Standard library only: a stage must run on a GPU node that has neither pydantic nor Snakemake.
"""

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cxrflow.errors import CxrflowError, escape_controls, is_control

S = typing.TypeVar("S")  # a settings dataclass; Python 3.11 has no def f[S]

# Text that is plainly a value: YAML 1.1 reads 1e-4, without a point, as text, and Snakemake's command line gives every
# value inside braces as text (`--config 'train={epochs: 3}'`).
TEXT_FORMS: dict[type, str] = {
    int: r"[-+]?\d+",
    float: r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?",
    bool: r"true|false",
}
YAML_TRAP = "YAML reads yes, no, on and off without quotes as true and false"


def setting(
    meaning: str,
    default: Any = dataclasses.MISSING,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    switch: tuple[str, str] | None = None,
    is_name: bool = False,
) -> Any:
    """Declare one setting of a settings dataclass; a type as default makes an empty one; without it must be given.

    A name is text of one line. A switch is the two of the choices that false and true stand for, as they did before
    there were others; YAML reads off and on as these.
    """
    metadata = {"meaning": meaning, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    metadata |= {"switch": switch, "is_name": is_name}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata, kw_only=default is dataclasses.MISSING)


def parse_settings(cls: type[S], value: Any, where: str = "config") -> S:
    """Build a settings dataclass from what YAML or JSON gave, with every problem reported at once.

    Raises:
        CxrflowError: unknown or missing keys, wrong types, values out of range; each line names the key.
    """
    problems: list[str] = []
    settings = _parse(cls, value, where, problems)
    raise_problems(problems)
    return typing.cast(S, settings)


def find_problems(cls: type, value: Any, where: str) -> list[str]:
    """Return what `parse_settings` would refuse, one line each."""
    problems: list[str] = []
    _parse(cls, value, where, problems)
    return problems


def raise_problems(problems: list[str]) -> None:
    """Raise a CxrflowError that lists the problems, if there are any, one line each and without control characters."""
    if problems:
        raise CxrflowError("\n  ".join(["the settings are wrong:", *map(escape_controls, problems)]))


def _text_problems(text: str, where: str, allowed: str = "") -> list[str]:
    """Name the control characters of a text, which could command a terminal or stand in a file's name unseen."""
    bad = sorted({c for c in text if is_control(c) and c not in allowed})
    return [f"{where}: {text!r} has the control characters {', '.join(map(repr, bad))}: take them out"] if bad else []


def _parse(annotation: Any, value: Any, where: str, problems: list[str], meta: Mapping[str, Any] | None = None) -> Any:
    """Convert `value` to `annotation`, or append to `problems` and return None."""
    if isinstance(annotation, types.UnionType):
        if value is None:
            return None
        (annotation,) = [member for member in annotation.__args__ if member is not type(None)]
    if dataclasses.is_dataclass(annotation):
        return _parse_dataclass(typing.cast(type, annotation), value, where, problems)
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return _parse_tuple(annotation, value, where, problems, meta or {})
    if origin is dict:
        return _parse_dict(annotation, value, where, problems, meta or {})
    if annotation is Any:
        return value
    return _parse_scalar(annotation, value, where, problems, meta or {})


def _parse_dataclass(cls: type, value: Any, where: str, problems: list[str]) -> Any:
    if value is None:
        value = {}  # `train:` with nothing below it
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a section of keys, got {value!r}")
        return None
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    problems.extend(unknown_key(where, str(key), list(fields)) for key in value if key not in fields)
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _parse(hints[name], value[name], f"{where}.{name}", problems, field.metadata)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{where}.{name} is missing: {field.metadata['meaning']}")
    return None if problems else cls(**arguments)


def unknown_key(where: str, key: str, known: list[str]) -> str:
    """Return the message for a key that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{where}.{key} is not a setting.{hint} Known here: {', '.join(known)}"


def _parse_tuple(annotation: Any, value: Any, where: str, problems: list[str], meta: Mapping[str, Any]) -> Any:
    (item,) = [member for member in annotation.__args__ if member is not Ellipsis]
    if dataclasses.is_dataclass(item) and isinstance(value, Mapping):
        value = [value]  # one section alone
    if not isinstance(value, list | tuple):
        problems.append(f"{where}: expected a list, got {value!r}; write [{value}]")
        return None
    items = tuple(_parse(item, entry, f"{where}[{i}]", problems, meta) for i, entry in enumerate(value))
    if item is not float:  # numbers of channels may be equal
        problems.extend(f"{where}: {each!r} is given twice: leave one of them" for each in _repeated(items))
    return items


def _repeated(items: tuple[Any, ...]) -> list[Any]:
    """Return, once each, what occurs more than once; None stands for what could not be read."""
    return [item for item, n in Counter(items).items() if n > 1 and item is not None]


def _parse_dict(annotation: Any, value: Any, where: str, problems: list[str], meta: Mapping[str, Any]) -> Any:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected names with a value each, got {value!r}")
        return None
    item = annotation.__args__[1]
    for key in value:
        if not isinstance(key, str):
            problems.append(f"{where}: the name {key!r} is not text; put it in quotes ({YAML_TRAP})")
        problems.extend(_text_problems(str(key), where))
    return {str(key): _parse(item, entry, f"{where}.{key}", problems, meta) for key, entry in value.items()}


def _parse_scalar(kind: type, value: Any, where: str, problems: list[str], meta: Mapping[str, Any]) -> Any:
    """Check one bool, int, float or str, and its range."""
    if isinstance(value, str) and kind in TEXT_FORMS and re.fullmatch(TEXT_FORMS[kind], value):
        value = value == "true" if kind is bool else kind(value)
    if meta.get("switch") and str(value).lower() in ("true", "false"):
        value = meta["switch"][str(value).lower() == "true"]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        hint = f" ({YAML_TRAP}: use quotes)" if kind is str and isinstance(value, bool) else ""
        problems.append(f"{where}: expected {_type_name(kind)}, got {value!r}{hint}")
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = meta.get("minimum"), meta.get("maximum")
        if not math.isfinite(value):
            problems.append(f"{where}: {value!r} is out of range (a finite number)")
        elif (low is not None and value < low) or (high is not None and value > high):
            problems.append(f"{where}: {value!r} is out of range ({range_text(meta)})")
    if isinstance(value, str):
        problems.extend(_text_problems(value, where, allowed="" if meta.get("is_name") else "\n\t"))
    if meta.get("choices") and value not in meta["choices"]:
        problems.append(f"{where}: {value!r} is not one of {', '.join(meta['choices'])}")
    return value


def _type_name(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]


def range_text(meta: Mapping[str, Any]) -> str:
    """Return the allowed range of a number in words."""
    low, high = meta.get("minimum"), meta.get("maximum")
    if high is None:
        return f"at least {low:.10g}"
    return f"at most {high:.10g}" if low is None else f"{low:.10g} to {high:.10g}"


def settings_dict(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain dicts and lists, defaults included."""
    return typing.cast(dict[str, Any], json.loads(settings_json(settings)))


def settings_json(settings: Any) -> str:
    """Return one line of JSON, defaults filled in, keys in definition order: equal settings are equal text."""
    return json.dumps(dataclasses.asdict(settings), ensure_ascii=False)


def override_settings(settings: S, overrides: Mapping[str, Any], where: str) -> S:
    """Return settings with some keys replaced, checked as `parse_settings` checks them."""
    return parse_settings(type(settings), {**settings_dict(settings), **overrides}, where)
