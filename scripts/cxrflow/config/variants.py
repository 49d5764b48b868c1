"""Variants by name, and grids: a variant that lists several values of a setting is one variant of each."""

import itertools
import re
from collections.abc import Mapping, Sequence

from cxrflow.config.parsing import TEXT_FORMS
from cxrflow.config.settings import StudySettings, VariantSettings

SECTIONS = ("preprocess", "train")  # of the settings that a variant may override


def read_config_variants(settings: StudySettings) -> Mapping[str, VariantSettings]:
    """Return the variants that the config names, each grid as its members."""
    return {name: member for grid in settings.variants for name, member in list_members(settings, grid)}


def ablated_variants(settings: StudySettings) -> list[str]:
    """Return the variants that run, once each: the named ones and the controls."""
    ablation = settings.ablation
    return _expand_names(settings, (*ablation.variants, *ablation.negative_controls, *ablation.positive_controls))


def control_of(settings: StudySettings, variant: str) -> str:
    """Return which control of the ablation a variant is: negative, positive, or none (empty)."""
    controls = {"negative": settings.ablation.negative_controls, "positive": settings.ablation.positive_controls}
    return next((kind for kind, names in controls.items() if variant in _expand_names(settings, names)), "")


def _expand_names(settings: StudySettings, names: Sequence[str]) -> list[str]:
    """Return variants once each; the name of a grid stands for all of its members."""
    grids = {name: [each for each, _ in list_members(settings, name)] for name in names if name in settings.variants}
    return list(dict.fromkeys(member for name in names for member in grids.get(name, [name])))


def list_members(settings: StudySettings, name: str) -> list[tuple[str, VariantSettings]]:
    """Return a variant with its name, or one for each combination of the values that it lists.

    `lr: {train: {learning_rate: [3e-4, 1e-3]}}` gives `lr_0.0003` and `lr_0.001`.
    """
    variant = settings.variants[name]
    listed = [(s, key) for s in SECTIONS for key, value in getattr(variant, s).items() if isinstance(value, list)]
    members = []
    for values in itertools.product(*(getattr(variant, section)[key] for section, key in listed)):
        sections = {section: dict(getattr(variant, section)) for section in SECTIONS}
        for (section, key), value in zip(listed, values, strict=True):
            sections[section][key] = value
        members.append(("_".join([name, *map(_name_value, values)]), VariantSettings(**sections)))
    return members


def _name_value(value: object) -> str:
    """Return a value as part of a name: 3e-4 as a number or as YAML's text is 0.0003."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and re.fullmatch(TEXT_FORMS[float], value)):
        return f"{float(value):g}"  # type: ignore[arg-type]
    return str(value).lower()
