"""From YAML files to a checked study: config files, overridden by the KEY=VALUE of `--config`, every problem named."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from cxrflow.config.backbones import BACKBONES, find_size_problem
from cxrflow.config.findings import find_finding_problems
from cxrflow.config.layout import BASE, FROM_DATASET, FROM_WEIGHTS, IMAGENET
from cxrflow.config.parsing import find_problems, parse_settings, raise_problems, settings_dict
from cxrflow.config.readers import PHANTOM_READERS, READERS
from cxrflow.config.settings import DatasetSettings, PreprocessSettings, StudySettings, WeightsSettings
from cxrflow.config.study import UNFINISHED, Study
from cxrflow.config.tuning import find_tune_problems, list_recipes, read_tuned
from cxrflow.config.variants import SECTIONS, list_members, read_config_variants
from cxrflow.errors import CxrflowError

TEMPLATE_KEY = "__use_yte__"  # Snakemake renders profiles with YTE where they say so
NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"  # what a study, dataset or variant may be called: it becomes a folder
KEY = re.compile(r"[a-zA-Z_][\w-]*\w")


class OnceEach:
    """Refuses a mapping that gives a key twice: YAML's own loaders keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, once its keys are known to differ."""
        found: dict[str, yaml.Mark] = {}
        for key in (key for key, _value in node.value if isinstance(key, yaml.ScalarNode)):
            if (first := found.setdefault(key.value, key.start_mark)) is not key.start_mark:
                lines = " and ".join(f"line {line}" for line in sorted({first.line + 1, key.start_mark.line + 1}))
                raise CxrflowError(
                    f"{first.name}: {key.value!r} is given twice ({lines}), and only the last would count: leave one of"
                    " them"
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return mapping


class StrictLoader(OnceEach, yaml.SafeLoader):
    """Reads YAML as `yaml.safe_load` does."""


class StrictTextLoader(OnceEach, yaml.BaseLoader):
    """Reads YAML in which every value is text."""


def load_yaml(text: str, where: str, loader: type[StrictLoader | StrictTextLoader] = StrictLoader) -> Any:
    """Read YAML; `where` names it in messages.

    Raises:
        CxrflowError: a mapping gives a key twice.
        yaml.YAMLError: it is not YAML.
    """
    reader = loader(text)
    reader.name = where
    try:
        return reader.get_single_data()
    finally:
        reader.dispose()


def refuse_repeated_options(words: Sequence[str]) -> None:
    """Refuse a command line of Snakemake that gives an option twice, of which it would take the last alone.

    Raises:
        CxrflowError: with the option.
    """
    options = [word.partition("=")[0] for word in words]
    for names in (("--config", "-C"), ("--configfile", "--configfiles"), ("--profile",)):
        if sum(map(options.count, names)) > 1:
            raise CxrflowError(
                f"{names[0]} is given twice, and Snakemake would take the last alone: give it once, with all of its"
                " values behind it"
            )


def load_config(paths: Sequence[Path], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Merge config files and KEY=VALUE overrides as Snakemake does: later ones win, key by key.

    Raises:
        CxrflowError: a file is missing, not YAML or gives a key twice, or an override is not KEY=VALUE.
    """
    config: dict[str, Any] = {}
    for values in [*map(read_mapping, paths), *map(parse_override, overrides)]:
        config = _merge(config, values)
    return config


def parse_override(text: str) -> dict[str, Any]:
    """Read one KEY=VALUE of `--config`: a number, True or False, or YAML whose values all stay text.

    Source: snakemake 9.27, snakemake.cli.parse_config; a test compares both.

    Raises:
        CxrflowError: it is not KEY=VALUE.
    """
    key, equals, value = text.partition("=")
    if not equals or not KEY.fullmatch(key):
        raise CxrflowError(f"--config {text}: expected KEY=VALUE, as in data_root=DIR or 'train={{epochs: 3}}'")
    value = value.strip("'\"")
    return {key: _read_value(value) if value else None}


def _read_value(text: str) -> Any:
    for read in FORMS:
        try:
            return read(text)
        except (ValueError, KeyError, yaml.YAMLError):
            continue
    return text


FORMS: tuple[Callable[[str], Any], ...] = (
    int,
    float,
    {"True": True, "False": False}.__getitem__,
    lambda text: load_yaml(text, "--config", StrictTextLoader),  # as Snakemake: text, in lists and mappings
)


def _merge(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    def join(key: str) -> Any:
        both = isinstance(base.get(key), dict) and isinstance(other.get(key), dict)
        return _merge(base[key], other[key]) if both else other.get(key, base.get(key))

    return {key: join(key) for key in [*base, *(key for key in other if key not in base)]}


def read_mapping(path: Path, *, render: bool = True) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, as Snakemake reads it; its expressions are worked out if it is rendered.

    Raises:
        CxrflowError: it is missing, not YAML, gives a key twice, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise CxrflowError(
            f"{path} does not exist: run this in the folder of the Snakefile, or name an existing file, such as those"
            " in config/ and profiles/"
        ) from None
    try:
        values = load_yaml(text, str(path))
        if render and isinstance(values, dict) and values.get(TEMPLATE_KEY):
            values = _render(text, path)
    except yaml.YAMLError as error:
        raise CxrflowError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise CxrflowError(
            f"{path} does not hold a mapping of keys to values: compare it with the one in the repository"
        )
    return values


def _render(text: str, path: Path) -> Any:
    import yte  # comes with Snakemake; configs need none of it

    try:
        return yte.process_yaml(text)
    except Exception as error:  # whatever an expression in the file raises
        raise CxrflowError(f"{path} cannot be rendered: {error.__cause__ or error}") from None


def load_study(config: Mapping[str, Any]) -> Study:
    """Check a config in full and return its study, with the variants that finished searches have found.

    Raises:
        CxrflowError: unknown or mistyped keys, wrong types, names that do not exist; every problem in one message.
    """
    if not config:
        raise CxrflowError(
            "no study is chosen: add --configfile=config/demo.yaml, config/quick.yaml or config/lungs.yaml"
        )
    settings = parse_settings(StudySettings, config, "config")
    study = Study(replace(settings, variants={**settings.variants, **read_tuned(settings)}))
    taken = [f"config.variants.{name}: a search has this name" for name in settings.tune if name in settings.variants]
    raise_problems(taken + _problems(study))
    return study


def _problems(study: Study) -> list[str]:
    """Return what is wrong between settings that are each right by themselves."""
    settings = study.settings
    names = [settings.study, *settings.datasets, *study.variants(), *settings.tune, *settings.weights]
    problems = [
        f"config: {n!r} cannot name a folder: use letters, digits, _ . + -" for n in names if not re.fullmatch(NAME, n)
    ]
    lists = {"datasets": settings.datasets, "seeds": settings.seeds, "backbones": settings.backbones}
    if not study.models():
        problems += [f"config.{key} is empty, so the study has no model: name one" for key in lists if not lists[key]]
    for kind, keys in (("datasets", settings.datasets), ("variants", study.variants())):
        same = Counter(key.casefold() for key in keys)
        problems += [
            f"config.{kind}: {key!r} differs from another name by case only, and would share its folder where case does"
            " not count: rename it"
            for key in keys
            if same[key.casefold()] > 1
        ]
    for name, weights in settings.weights.items():
        problems += _weights_problems(f"config.weights.{name}", weights)
    for key, data in settings.datasets.items():
        problems += _class_problems(f"config.datasets.{key}.classes", data.classes)
        problems += _unread_problems(f"config.datasets.{key}", data)
    for where, name, known in _references(settings):
        if name not in known:
            problems.append(f"{where}: {name!r} is not known; known: {', '.join(known) or 'none'}")
    if UNFINISHED in settings.datasets:
        problems.append(f"config.datasets.{UNFINISHED}: this name is taken; see leave_out")
    if settings.datasets and not study.datasets():
        problems.append("config.leave_out: every dataset is left out")
    if BASE in settings.variants:
        problems.append(f"config.variants.{BASE}: this name is taken by the settings without overrides")
    if abs(settings.split.train + settings.split.val + settings.split.test - 1) > 1e-9:
        problems.append("config.split: train, val and test must add up to 1")
    problems += _grid_problems(settings)
    for variant in study.variants():
        problems += _variant_problems(study, variant)
    for name in settings.tune:
        problems += _search_problems(study, name)
    return problems or list(find_finding_problems(study))


def _search_problems(study: Study, name: str) -> list[str]:
    """Return what is wrong with a search, and with the preprocessings that it can try."""
    bases = [f"{model.dataset}/{model.backbone}/{model.init}" for model in study.models() if model.variant == BASE]
    problems = list(find_tune_problems(study.settings, name, list(dict.fromkeys(bases))))
    recipes = [] if problems else list_recipes(study.settings.tune[name], study.base_settings())
    backbones = [study.settings.tune[name].backbone]
    return problems + [problem for recipe in recipes for problem in _recipe_problems(recipe, name, backbones)]


def _grid_problems(settings: StudySettings) -> list[str]:
    """Return which variants have no member, or one name for two."""
    names = {grid: [name for name, _ in list_members(settings, grid)] for grid in settings.variants}
    times = Counter(name for members in names.values() for name in members)
    empty = [
        f"config.variants.{grid}: it lists no value, so it is no variant: write one"
        for grid in names
        if not names[grid]
    ]
    return empty + [
        f"config.variants: {name!r} would be the name of {n} variants: write each value once, or rename one"
        for name, n in times.items()
        if n > 1
    ]


def _class_problems(where: str, classes: Mapping[str, str]) -> list[str]:
    """Return which class names cannot be told apart, or say nothing; several labels may have one name."""
    same = Counter(" ".join(name.split()).casefold() for name in set(classes.values()))
    twins = sorted(name for name in set(classes.values()) if same[" ".join(name.split()).casefold()] > 1)
    problems = [
        f"{where}.{label}: the class has no name: write one" for label, name in classes.items() if not name.strip()
    ]
    return problems + [f"{where}: {', '.join(map(repr, twins))} differ by case or blanks only: write one name"] * bool(
        twins
    )


def _weights_problems(where: str, weights: WeightsSettings) -> list[str]:
    """Return what is wrong with a file of weights, as far as its entry shows."""
    problems = []
    if not re.fullmatch("[0-9a-f]{64}", weights.sha256):
        problems.append(f"{where}.sha256: expected 64 hex digits, as sha256sum prints them, got {weights.sha256!r}")
    for pattern, replacement in weights.keys.items():
        try:
            re.sub(pattern, replacement, "")
        except (re.error, IndexError) as error:
            problems.append(f"{where}.keys: {pattern!r}: {replacement!r} is not a replacement by a pattern ({error})")
    for key in ("mean", "std"):
        if len(getattr(weights, key)) not in (1, 3):
            problems.append(f"{where}.{key}: expected one number, or one for each of three channels")
    if min(weights.std, default=1) <= 0:
        problems.append(f"{where}.std: expected numbers above 0")
    return problems


def _unread_problems(where: str, data: DatasetSettings) -> list[str]:
    """Return the settings that only another reader reads: they would do nothing without a word."""
    given = {field.name for field in fields(data) if getattr(data, field.name) != field.default}
    return [
        f"{where}.{name}: the reader {data.reader} does not read it, {reader} does: remove it, or change the reader"
        for reader, entry in READERS.items()
        for name in entry.own_settings
        if reader != data.reader and name in given
    ]


def _references(settings: StudySettings) -> Iterator[tuple[str, str, Collection[str]]]:
    """Return every name that must be a key elsewhere: where it is used, the name, and the keys."""
    datasets, ablation, phantoms = settings.datasets, settings.ablation, settings.phantoms
    yield from ((f"config.datasets.{name}.reader", data.reader, READERS) for name, data in datasets.items())
    for name in phantoms.images_per_class_of if phantoms else ():
        yield "config.phantoms.images_per_class_of", name, PHANTOM_READERS
    yield from (("config.leave_out", name, [*datasets, UNFINISHED]) for name in settings.leave_out)
    yield from (("config.backbones", backbone, BACKBONES) for backbone in settings.backbones)
    variants = [*settings.variants, *read_config_variants(settings)]
    for key in ("variants", "negative_controls", "positive_controls"):
        yield from ((f"config.ablation.{key}", name, variants) for name in getattr(ablation, key))
    yield from (("config.ablation.datasets", dataset, datasets) for dataset in ablation.datasets)
    yield from (("config.ablation.backbones", backbone, BACKBONES) for backbone in ablation.backbones)
    for name, weights in settings.weights.items():
        yield f"config.weights.{name}.backbone", weights.backbone, BACKBONES
        yield from ((f"config.weights.{name}.trained_on", reader, READERS) for reader in weights.trained_on)
    for dataset, transfers in settings.transfer.items():
        yield "config.transfer", dataset, datasets
        for each in transfers:
            fitting = (name for name, weights in settings.weights.items() if weights.backbone == each.backbone)
            inits = [IMAGENET, *(FROM_DATASET + other for other in datasets if other != dataset)]
            yield f"config.transfer.{dataset}.backbone", each.backbone, BACKBONES
            yield f"config.transfer.{dataset}.init", each.init, [*inits, *(FROM_WEIGHTS + name for name in fitting)]


def _variant_problems(study: Study, name: str) -> list[str]:
    """Return what is wrong with a variant's settings once its overrides are merged in."""
    problems: list[str] = []
    variant, settings = study.variants()[name], study.settings
    for section in SECTIONS:
        base = getattr(settings, section)
        merged = {**settings_dict(base), **getattr(variant, section)}
        problems += find_problems(type(base), merged, f"config.variants.{name}.{section}")
    backbones = sorted({model.backbone for model in study.models() if model.variant == name})
    return problems or _recipe_problems(study.preprocess_settings(name), name, backbones)


def _recipe_problems(settings: PreprocessSettings, name: str, backbones: Sequence[str]) -> list[str]:
    """Return what is wrong with a preprocessing, and with its size for the backbones that see its images."""
    kernel = settings.blur_px
    even = f"config.preprocess.blur_px ({name}): {kernel} is even; a kernel needs a middle pixel"
    found = (find_size_problem(backbone, settings.size_px) for backbone in backbones if backbone in BACKBONES)
    sizes = [f"config.preprocess.size_px ({name}): {problem}" for problem in found if problem]
    return [even] * bool(kernel and kernel % 2 == 0) + sizes
