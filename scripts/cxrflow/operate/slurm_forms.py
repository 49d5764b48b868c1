"""How times and GPUs are written for Slurm: by its commands, in its plugin's partition files, in profiles."""

import math
import re

from cxrflow.errors import CxrflowError

UNLIMITED = ("unlimited", "infinite", "n/a")  # as squeue, sinfo and sbatch write it
# Words as Snakemake reads them in `runtime: 12h` (the package humanfriendly); its Slurm plugin knows d, h, m and s.
UNITS_MINUTES = {
    word: minutes
    for words, minutes in (
        ("s sec secs second seconds", 1 / 60),
        ("m min mins minute minutes", 1.0),
        ("h hour hours", 60.0),
        ("d day days", 1440.0),
        ("w week weeks", 10080.0),
    )
    for word in words.split()
}
NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")


def parse_minutes(text: str) -> float:
    """Return a time in minutes; infinity where it is unlimited.

    Slurm's forms: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`,
    `days-hours:minutes:seconds`, `UNLIMITED`. Snakemake's: `90.5` (minutes), `12h`, `1d12h`, `90 min`.
    Source: sbatch(1), --time.

    Raises:
        CxrflowError: it is not a time.
    """
    said = text.strip().lower()
    if said in UNLIMITED:
        return math.inf
    if match := CLOCK.fullmatch(said):
        return _read_clock(match["days"], match["parts"].split(":"))
    if re.fullmatch(r"\d+\.\d+", said):
        return float(said)
    pairs = NUMBER_AND_UNIT.findall(said)
    if not pairs or NUMBER_AND_UNIT.sub("", said) or any(unit not in UNITS_MINUTES for _, unit in pairs):
        raise CxrflowError(f"{text!r} is not a time: expected minutes, days-hours:minutes:seconds, or for example 12h")
    return sum(float(number) * UNITS_MINUTES[unit] for number, unit in pairs)


def _read_clock(days: str | None, parts: list[str]) -> float:
    """Return minutes: behind days the first number is hours; without, one or two numbers begin with minutes."""
    from_minutes = days is None and len(parts) < 3
    hours, minutes, seconds = [*map(int, ["0"] * from_minutes + parts), 0, 0][:3]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def parse_gpus(gres: str) -> dict[str, int]:
    """Return {model: number} from what a node has or a job asks for: `gpu:a100:4(S:0-1),gpu:2`, `gpu:a100`, `gpu`.

    A model without a name is empty; a number that is not said is 1; other things than GPUs are left out.
    """
    gpus: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = entry.strip().split(":")
        count = int(rest.pop()) if rest and rest[-1].isdecimal() else 1
        if name == "gpu":
            model = "".join(rest)
            gpus[model] = gpus.get(model, 0) + count
    return gpus
