"""The settings that a study's files were made with, from their records, which may not be those of the config now.

Results are copied, and Snakemake's own notes with its folder .snakemake are lost: it then makes nothing again. What is
said about a study is what its files say.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrflow.config.layout import BASE, Layout, ModelId
from cxrflow.config.parsing import override_settings, parse_settings, settings_dict
from cxrflow.config.study import Study
from cxrflow.files.provenance import made_with


@dataclass(frozen=True)
class Made:
    """One file's settings of one section.

    Attributes:
        path: of the file.
        section: of the config.
        is_base: not a variant's.
        wanted: what the config says.
        found: what it was made with.
    """

    path: Path
    section: str
    is_base: bool
    wanted: Any
    found: dict[str, Any]

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """Return {section.key: (made with, config)}; a key that one of the two does not know is no difference."""
        wanted = settings_dict(self.wanted)
        known = {key: value for key, value in self.found.items() if key in wanted}
        found = settings_dict(override_settings(self.wanted, known, self.section))  # a switch may have got more choices
        return {f"{self.section}.{key}": (value, wanted[key]) for key, value in found.items() if value != wanted[key]}


def list_made(study: Study, layout: Layout, models: Iterable[ModelId]) -> Iterator[Made]:
    """Yield the recorded settings of the files of some models and of their datasets; what has no record is left out."""
    settings, models = study.settings, list(models)
    sections = [
        (path, section, True, "settings", getattr(settings, section))
        for dataset in dict.fromkeys(model.dataset for model in models)
        for path, section in ((layout.index(dataset), "index"), (layout.split(dataset), "split"))
    ]
    for model in models:
        preprocess, train = study.preprocess_settings(model.variant), study.train_settings(model.variant)
        sections += [
            (layout.model_file(model, file), section, model.variant == BASE, parameter, wanted)
            for file, section, parameter, wanted in (
                ("model.pt", "preprocess", "preprocess", preprocess),
                ("model.pt", "train", "settings", train),
                ("predictions.csv", "evaluate", "settings", settings.evaluate),
                ("predictions.csv", "explain", "explain", settings.explain),
                ("metrics.json", "score", "settings", settings.score),
                ("metrics.json", "embed", "embed", settings.embed),
            )
        ]
    for path, section, is_base, parameter, wanted in sections:
        record = made_with(path)
        if record is not None and path.exists() and parameter in record["settings"]:  # stages of findings have fewer
            yield Made(path, section, is_base, wanted, record["settings"][parameter])


def study_as_made(study: Study, layout: Layout, models: Iterable[ModelId]) -> Study:
    """Return a study with the settings that its files were made with, where all of one section agree."""
    found: dict[str, list[Made]] = {}
    for made in list_made(study, layout, models):
        if made.is_base:
            found.setdefault(made.section, []).append(made)
    sections = {
        section: parse_settings(type(each[0].wanted), {**settings_dict(each[0].wanted), **each[0].found}, section)
        for section, each in found.items()
        if all(made.found == each[0].found for made in each) and each[0].differences()
    }
    return replace(study, settings=replace(study.settings, **sections))


def describe_differences(made: Iterable[Made]) -> str:
    """Say what was made with other settings than the config's: `train.epochs: 2, now 50 (12 files)`; empty: nothing."""
    counts: dict[str, int] = {}
    for each in made:
        for key, (was, now) in each.differences().items():
            text = f"{key}: {was}, now {now}"
            counts[text] = counts.get(text, 0) + 1
    return "; ".join(f"{text} ({n} file{'s' * (n > 1)})" for text, n in counts.items())
