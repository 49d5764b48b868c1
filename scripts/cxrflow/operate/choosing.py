"""Which study is meant: by its config file or by its name."""

from collections.abc import Sequence
from pathlib import Path

from cxrflow.config.loading import load_config
from cxrflow.config.study import Study, load_study
from cxrflow.config.yaml_files import read_mapping
from cxrflow.errors import CxrflowError

CONFIGS = Path("config")


def find_config(study: str) -> Path | None:
    """Return the file in config/ whose study has this name; None: there is none."""
    return {name: path for path, name in list_configs().items()}.get(study)


def list_configs() -> dict[Path, str]:
    """Return the config files of config/ with the names of their studies."""
    configs = {path: read_mapping(path) for path in sorted(CONFIGS.glob("*.yaml"))}
    return {path: config["study"] for path, config in configs.items() if isinstance(config, dict) and "study" in config}


def choose_config(configfile: Path | None, study: str | None) -> Path:
    """Return the config file that is meant: the named one, the named study's, or that of the only study begun.

    Raises:
        CxrflowError: both or neither is said and it is not clear which, or no config has this study.
    """
    if configfile and study:
        raise CxrflowError("--configfile and --study both say which study is meant: leave one out")
    if configfile:
        return configfile
    known = {name: path for path, name in list_configs().items()}
    begun = [name for name in known if Path("results", name).is_dir()]
    if study is None and len(begun) != 1:
        what = f"several studies have results here ({', '.join(begun)})" if begun else "no study has results here yet"
        raise CxrflowError(f"{what}: say which is meant with --configfile config/lungs.yaml or --study lungs")
    name = study or begun[0]
    if name not in known:
        raise CxrflowError(
            f"no file in {CONFIGS}/ has the study {name!r}; known: {', '.join(known) or 'none'}."
            " Name it with --configfile"
        )
    return known[name]


def read_study(configfile: Path, overrides: Sequence[str] = ()) -> Study:
    """Read and check a config file, and what replaces its settings.

    Args:
        configfile: of the study.
        overrides: KEY=VALUE, as Snakemake's `--config` takes them.

    Raises:
        CxrflowError: it is not there, no YAML, or no study, or an override is not KEY=VALUE.
    """
    return load_study(load_config([configfile], overrides))
