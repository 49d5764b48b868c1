"""A search for better settings: its plan, its space and what it found, without the searching itself.

A search goes by generations. Each asks new settings, knowing what those before gave, and sends the best of the trials
so far on to the next rung of epochs (successive halving: Jamieson & Talwalkar 2016, AISTATS). One training of a trial,
from a rung to the next, is a run; how many runs a generation has, of which rungs, follows from the config alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, cast

from cxrflow.config.layout import FROM_WEIGHTS, Layout
from cxrflow.config.parsing import (
    find_problems,
    override_settings,
    parse_settings,
    settings_dict,
    unknown_key,
)
from cxrflow.config.settings import (
    PreprocessSettings,
    Range,
    StudySettings,
    TrainSettings,
    TuneSettings,
    VariantSettings,
)
from cxrflow.config.variants import SECTIONS
from cxrflow.files.atomic import read_json

SECTION_OF = {
    field.name: section
    for section, cls in zip(SECTIONS, (PreprocessSettings, TrainSettings), strict=True)
    for field in fields(cls)
}
SET_BY_RUNGS = "epochs"


@dataclass(frozen=True)
class Run:
    """One job of a search: a new trial at the first rung, a trial that goes on at the others."""

    number: int  # from 0, in the order of the generations; of its trial file
    generation: int  # from 0
    rung: int  # from 0

    @property
    def name(self) -> str:
        """Its number as files have it."""
        return f"{self.number:04d}"


def plan_runs(tune: TuneSettings) -> list[Run]:
    """Return all runs of a search that names its rungs; a generation has new trials first, if any are left to be asked.

    Rung k has n * r_0 / r_k runs in each generation, as many fewer as it is longer, and follows rung k - 1 by one
    generation.
    """
    rungs = tune.rungs
    return [
        Run(number, generation, rung)
        for number, (generation, rung) in enumerate(
            (generation, rung)
            for generation in range(tune.generations + len(rungs) - 1)
            for rung in range(len(rungs))
            if rung <= generation < tune.generations + rung
            for _ in range(max(1, tune.per_generation * rungs[0] // rungs[rung]))
        )
    ]


def epochs_of(tune: TuneSettings, run: Run) -> int:
    """Return how many epochs a run trains: from the rung before its own, or from none."""
    return tune.rungs[run.rung] - (tune.rungs[run.rung - 1] if run.rung else 0)


Space = dict[str, Range | tuple[Any, ...]]
Base = Mapping[str, PreprocessSettings | TrainSettings]  # by section; what a space does not name keeps these values


def parse_space(tune: TuneSettings, base: Base) -> Space:
    """Return what is tried of each key, as the types of the settings.

    Raises:
        CxrflowError: something that `find_tune_problems` says.
    """

    def typed(key: str, value: Any) -> Any:
        return getattr(override_settings(base[SECTION_OF[key]], {key: value}, SECTION_OF[key]), key)

    space: Space = {}
    for key, entry in tune.space.items():
        if isinstance(entry, Mapping):
            given = parse_settings(Range, entry, key)
            space[key] = Range(low=typed(key, given.low), high=typed(key, given.high), log=given.log)
        else:
            space[key] = tuple(typed(key, value) for value in entry)
    return space


def list_recipes(tune: TuneSettings, base: Base) -> list[PreprocessSettings]:
    """Return every preprocessing that a search can try: images are packed before it begins."""
    space = parse_space(tune, base)
    choices = {key: cast(tuple[Any, ...], space[key]) for key in space if SECTION_OF[key] == "preprocess"}
    return [
        cast(
            PreprocessSettings, override_settings(base["preprocess"], dict(zip(choices, values, strict=True)), "space")
        )
        for values in product(*choices.values())
    ]


def find_tune_problems(settings: StudySettings, name: str, bases: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with one search, one line each.

    bases: dataset/backbone/init of the study's base models, one of which what is found is compared with.
    """
    tune, where = settings.tune[name], f"config.tune.{name}"
    if not tune.space:
        yield f"{where}.space is empty, so there is nothing to search: name a setting and what to try"
    for key, entry in tune.space.items():
        if key in SECTION_OF and key != SET_BY_RUNGS:
            base = getattr(settings, SECTION_OF[key])
            yield from _find_entry_problems(base, f"{where}.space.{key}", key, entry)
        else:
            yield unknown_key(f"{where}.space", key, [known for known in SECTION_OF if known != SET_BY_RUNGS])
    asked = f"{tune.dataset}/{tune.backbone}/{tune.init}"
    if asked not in bases and tune.dataset not in settings.leave_out:
        yield f"{where}: {asked} is no base model of this study, to compare what is found with: {', '.join(bases)}"
    weights = settings.weights.get(tune.init.removeprefix(FROM_WEIGHTS))
    if weights and tune.init.startswith(FROM_WEIGHTS) and weights.head == "probe":
        yield f"{where}.init: {tune.init} is a probe, whose network is not trained: there are no settings to search"
    if list(tune.rungs) != sorted(tune.rungs):
        yield f"{where}.rungs: {list(tune.rungs)} must go up, as a trial goes on from one to the next"
    if tune.seed in settings.seeds:
        yield (
            f"{where}.seed: {tune.seed} is one of config.seeds, and what was found with a seed looks better there than"
            " it is: search with another"
        )


def _find_entry_problems(base: Any, where: str, key: str, entry: Any) -> Iterator[str]:
    """Yield what is wrong with what is to be tried of one key."""
    now = getattr(base, key)
    if isinstance(entry, Mapping):
        if problems := find_problems(Range, entry, where):
            yield from problems
            return
        if isinstance(base, PreprocessSettings) or isinstance(now, bool) or not isinstance(now, int | float):
            yield f"{where}: expected a list of the values to try; a range is for numbers of config.train"
            return
        values = [entry["low"], entry["high"]]
    else:
        values = list(entry) if isinstance(entry, list | tuple) else []
        if len(set(map(str, values))) < max(2, len(values)):
            yield f"{where}: expected a list of different values, or {{low, high}}; got {entry!r}"
    problems = [
        problem
        for value in values
        for problem in find_problems(type(base), {**settings_dict(base), key: value}, where.rpartition(".")[0])
    ]
    yield from problems
    if isinstance(entry, Mapping) and not problems:
        low, high = (getattr(override_settings(base, {key: value}, where), key) for value in values)
        if low >= high or (entry.get("log") and low <= 0):
            yield f"{where}: low must be below high, and above 0 where log is true; got {low} and {high}"


def as_variant(parameters: Mapping[str, Any]) -> VariantSettings:
    """Return a trial's parameters as the variant that trains with them."""
    sections = {section: {k: v for k, v in parameters.items() if SECTION_OF[k] == section} for section in SECTIONS}
    return VariantSettings(**sections)


def read_tuned(settings: StudySettings) -> dict[str, VariantSettings]:
    """Return the settings that finished searches have found, by the search's name.

    Raises:
        CxrflowError: the file of one is damaged.
    """
    paths = {name: Layout.of_study(settings.study).tuned(name) for name in settings.tune}
    return {name: as_variant(read_json(path)["parameters"]) for name, path in paths.items() if path.exists()}
