"""What a training prints: a header, one line per epoch, a last line. Aligned, to be read in a terminal.

`parse_epochs` reads the epochs back; it is next to `epoch_line` so that both change together. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import ModelId
from cxrflow.files.records import EpochRow

COLUMNS = ("epoch", "learning rate", "train loss", "train F1", "val loss", "val F1", "seconds", "images/s")
BEST_MARK = "  *"


def header(
    model: ModelId, device_name: str, threads: int, counts: Mapping[str, int], weights: Mapping[str, float]
) -> str:
    """Return the lines before the first epoch; `counts` are train images by class, `weights` are those in the loss."""
    width = max(len("class"), *map(len, counts))
    return "\n".join(
        [
            f"{model.path}: {BACKBONES[model.backbone].title} on {device_name}, CPU threads: {threads}",
            f"  {'class':<{width}}  train images  weight in the loss",
            *(f"  {name:<{width}}  {count:>12}  {weights[name]:>18.4f}" for name, count in counts.items()),
            _align(COLUMNS) + f"{BEST_MARK} best so far",
        ]
    )


def epoch_line(row: EpochRow, is_best: bool) -> str:
    """Return one epoch's line."""
    scores = [f"{value:.4f}" for value in (row.train_loss, row.train_macro_f1, row.val_loss, row.val_macro_f1)]
    cells = [str(row.epoch), f"{row.learning_rate:.3g}", *scores, f"{row.seconds:.1f}", f"{row.images_per_s:.1f}"]
    return _align(cells) + (BEST_MARK if is_best else "")


def final_line(epoch: int, history: Sequence[EpochRow]) -> str:
    """Return the line after the last epoch: the kept epoch, from 1, and the time of all."""
    kept = history[epoch - 1]
    minutes, seconds = divmod(round(sum(row.seconds for row in history)), 60)
    return (
        f"kept epoch {epoch} of {len(history)}: validation loss {kept.val_loss:.4f}, macro F1 {kept.val_macro_f1:.4f}; "
        f"trained for {minutes} min {seconds} s"
    )


def parse_epochs(text: str) -> list[EpochRow]:
    """Return the epochs that a log lists, rounded as it prints them; every other line is skipped."""
    rows = []
    for line in text.split("\n")[:-1]:  # the last one may be half written
        cells = line.removesuffix(BEST_MARK).split()
        if len(cells) == len(COLUMNS) and cells[0].isdecimal():
            with suppress(ValueError):
                rows.append(EpochRow(int(cells[0]), *map(float, cells[1:])))
    return rows


def _align(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, COLUMNS, strict=True))
