"""How a settings dataclass is written, checked against YAML or JSON, and turned into JSON, a schema and prose.

Standard library only: a stage must run on a GPU node that has neither pydantic nor Snakemake.
"""

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from cxrflow.errors import CxrflowError

S = typing.TypeVar("S")  # a settings dataclass; Python 3.11 has no def f[S]

YAML_TRAP = "YAML reads yes, no, on and off without quotes as true and false"


def setting(
    meaning: str,
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one setting of a settings dataclass; without a default it must be given."""
    metadata = {"meaning": meaning, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    if default is not dataclasses.MISSING:
        return dataclasses.field(default=default, metadata=metadata)
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(metadata=metadata, kw_only=True)


def parse_settings(cls: type[S], value: Any, where: str = "config") -> S:
    """Build a settings dataclass from what YAML or JSON gave, with every problem reported at once.

    Raises:
        CxrflowError: unknown or missing keys, wrong types, values out of range; each line names the key.
    """
    problems: list[str] = []
    settings = _parse(cls, value, where, problems)
    if problems:
        raise CxrflowError("\n  ".join(["the settings are not right:", *problems]))
    return typing.cast(S, settings)


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
        return _parse_tuple(annotation, value, where, problems)
    if origin is dict:
        return _parse_dict(annotation, value, where, problems)
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
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{where}.{key} is no setting{hint} Known here: {', '.join(known)}" if near else (
        f"{where}.{key} is no setting; known here: {', '.join(known)}"
    )


def _parse_tuple(annotation: Any, value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f"{where}: expected a list, got {value!r}; write [{value}]")
        return None
    (item,) = [member for member in annotation.__args__ if member is not Ellipsis]
    return tuple(_parse(item, entry, f"{where}[{i}]", problems) for i, entry in enumerate(value))


def _parse_dict(annotation: Any, value: Any, where: str, problems: list[str]) -> Any:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected names with a value each, got {value!r}")
        return None
    item = annotation.__args__[1]
    for key in value:
        if not isinstance(key, str):
            problems.append(f"{where}: the name {key!r} is no text; put it in quotes ({YAML_TRAP})")
    return {str(key): _parse(item, entry, f"{where}.{key}", problems) for key, entry in value.items()}


def _parse_scalar(kind: type, value: Any, where: str, problems: list[str], meta: Mapping[str, Any]) -> Any:
    """Check one bool, int, float or str, and its range."""
    if kind is float and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        value = float(value)  # YAML 1.1 reads 1e-4, without a point, as text
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        hint = f" ({YAML_TRAP}: use quotes)" if kind is str and isinstance(value, bool) else ""
        problems.append(f"{where}: expected {_type_name(kind)}, got {value!r}{hint}")
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = meta.get("minimum"), meta.get("maximum")
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            problems.append(f"{where}: {value!r} is out of range ({_range_text(meta)})")
    if meta.get("choices") and value not in meta["choices"]:
        problems.append(f"{where}: {value!r} is none of {', '.join(meta['choices'])}")
    return value


def _type_name(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]


def _range_text(meta: Mapping[str, Any]) -> str:
    low, high = meta.get("minimum"), meta.get("maximum")
    if high is None:
        return f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"


def settings_dict(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain dicts and lists, defaults included."""
    return typing.cast(dict[str, Any], json.loads(settings_json(settings)))


def settings_json(settings: Any) -> str:
    """Return one line of JSON with defaults filled in and keys in definition order, so that equal settings are equal text."""
    return json.dumps(dataclasses.asdict(settings), ensure_ascii=False)


def describe_settings(cls: type) -> str:
    """Return one line per setting for --help: name (type, unit, default): meaning."""
    return "; ".join(f"{row.name} ({row.type}{row.unit and ', ' + row.unit}, default {row.default})" for row in rows(cls))


@dataclasses.dataclass(frozen=True)
class Row:
    """One setting as documentation shows it."""

    name: str
    type: str
    unit: str
    default: str
    range: str
    meaning: str


def rows(cls: type) -> list[Row]:
    """Return the flat settings of a dataclass, in order, as documentation rows."""
    hints = typing.get_type_hints(cls)
    return [
        Row(
            name=field.name,
            type=_type_text(hints[field.name]),
            unit=field.metadata.get("unit", ""),
            default=_default_text(field),
            range=", ".join(field.metadata.get("choices", ()))
            or (_range_text(field.metadata) if field.metadata.get("minimum") is not None else ""),
            meaning=field.metadata.get("meaning", ""),
        )
        for field in dataclasses.fields(cls)
    ]


def _type_text(annotation: Any) -> str:
    if annotation in (bool, int, float, str):
        return str(annotation.__name__)
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type_text(annotation.__args__[0])}"
    if typing.get_origin(annotation) is dict:
        return "section" if dataclasses.is_dataclass(annotation.__args__[1]) else "names with values"
    return "section"


def _default_text(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return json.dumps(field.default)
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return json.dumps(value) if isinstance(value, dict | list) else "see below"
    return "required"


def json_schema(cls: type) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a settings dataclass."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(cls, {})}


def _schema(annotation: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(annotation, types.UnionType):
        return {"anyOf": [_schema(member, meta) for member in annotation.__args__]}
    if dataclasses.is_dataclass(annotation):
        return _schema_of_dataclass(typing.cast(type, annotation))
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return {"type": "array", "items": _schema(annotation.__args__[0], {})}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(annotation.__args__[1], {})}
    if annotation is Any:
        return {}
    if annotation is type(None):
        return {"type": "null"}
    name = {bool: "boolean", int: "integer", float: "number", str: "string"}[annotation]
    keys: dict[str, Callable[[Any], Any]] = {"minimum": float, "maximum": float, "choices": list}
    limits = {("enum" if key == "choices" else key): meta[key] for key in keys if meta.get(key) not in (None, ())}
    return {"type": name, **{key: list(value) if key == "enum" else value for key, value in limits.items()}}


def _schema_of_dataclass(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {}
    required = []
    for field in dataclasses.fields(cls):
        text = field.metadata.get("meaning", "")
        unit = field.metadata.get("unit", "")
        properties[field.name] = {
            **_schema(hints[field.name], field.metadata),
            **({"description": f"{text} [{unit}]" if unit else text} if text else {}),
        }
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}
