"""Durations and sizes in words, for a reader in a terminal."""

UNITS_S = ((172_800, 86_400, "days"), (5_400, 3_600, "h"), (90, 60, "min"), (0, 1, "s"))
UNITS_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (0, "KiB"))


def format_duration(seconds: float) -> str:
    """Return seconds in the unit that fits: `45 s`, `12 min`, `3.4 h`, `2.1 days`."""
    size, unit = next((size, unit) for least, size, unit in UNITS_S if seconds >= least)
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 10 else f"{f'{value:.1f}'.removesuffix('.0')} {unit}"


def format_hours(seconds: float) -> str:
    """Return seconds as hours with three digits, as clusters account them; less than an hour as `format_duration`."""
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.3g} h" if hours >= 1 else format_duration(seconds)


def format_bytes(size: int) -> str:
    """Return a size in KiB, MiB or GiB."""
    least, unit = next((least, unit) for least, unit in UNITS_BYTES if size >= least)
    return f"{size / (least or 1024):.1f} {unit}"
