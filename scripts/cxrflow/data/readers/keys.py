"""One normal form for every name that is compared: of patients, labels, images, masks and parts of a split."""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

# How tables write an empty cell, and what a spreadsheet writes for a formula that failed.
BLANKS = frozenset({
    "", "nan", "none", "null", "(null)", "<null>", "nil", "na", "n/a", "n.a.", "<na>", "nat", "?", "-", "--", ".",
    "\u2014", "#n/a", "#name?", "#null!", "#num!", "#ref!", "#value!", "#div/0!",
})  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_PARTS = {
    "train": "train", "training": "train", "trainval": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "development": "val",
    "test": "test", "testing": "test", "holdout": "test",
}  # fmt: skip
_STORED = re.compile(r"(set|data|split|part|images?|files|list)$")
_CONTAINER = re.compile(
    r"(images?|imgs?|pics?|pictures?|pngs?|jpe?gs?|dicoms?|dcm|masks?|folds?|parts?|batch(es)?|data|datasets?|files?"
    r"|archives?|copy|cxrs?|xrays?|sets?|\d+)"
)


def clean_name(name: str) -> str:
    """Return a name without what cannot be seen: outer and doubled blanks, Unicode form (NFKC), invisible characters.

    Two names with an equal clean form are surely the same.
    """
    if not name.isascii():
        name = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join(name.split())


def loose_key(name: str) -> str:
    """Return what is left of a name without case and number format: `P07` and `p-7`, or `7.0` and `007`, are equal.

    Two names with an equal key may be the same; whoever joins them must say so.
    """
    key = clean_name(name).casefold()
    if re.fullmatch(r"\+?\d+(\.\d+)?e\+?\d\d?", key):  # how spreadsheets show large numbers: 1.2E+05
        key = format(Decimal(key), "f")
    if re.fullmatch(r"\d{1,3}(,\d{3})+", key):
        key = key.replace(",", "")
    key = re.sub(r"(?<=[^\W\d_])[\s_-]+(?=\d)", "", key)
    if re.fullmatch(r"\+?\d+\.0*", key):
        key = key.split(".")[0].lstrip("+")
    return re.sub(r"(?<![\d.])0+(?=\d)", "", key)


def stem_key(path: str) -> str:
    """Return what a mask and its image have in common: the file's name without folders, suffix and case."""
    return clean_name(Path(path).stem).casefold()


def is_blank(name: str) -> bool:
    """Say whether a cell is empty, or holds what tables write for an empty one (`nan`, `None`, `N/A`)."""
    return clean_name(name).casefold() in BLANKS


def part_of(name: str) -> str:
    """Return which part of a published split a folder or cell names (train, val or test); empty: none."""
    words = _WORD.findall(re.sub(r"hold[ _-]out|held[ _-]?out", "holdout", clean_name(name).casefold()))
    whole = [word if word in _PARTS else _STORED.sub("", word) for word in words]  # traindata, testset
    found = {_PARTS[word] for word in whole if word in _PARTS}
    return "train" if found == {"train", "val"} else found.pop() if len(found) == 1 else ""


def is_container(name: str) -> bool:
    """Say whether a folder's name says how files are stored (`images`, `masks`, `fold_2`), not what they show."""
    words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"\bx[ _-]ray", "xray", clean_name(name).casefold()))
    return any(map(str.isalpha, words)) and all(map(_CONTAINER.fullmatch, words))


def quote_names(names: Iterable[str], limit: int = 4) -> str:
    """Return the first few names in quotes, for a message, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more
