"""One normal form for every name that is compared: of patients, labels, images, masks and parts of a split."""

import re
import unicodedata
from collections.abc import Iterable

BLANKS = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "nat", "?", "-"})  # how tables write an empty cell
_PART = re.compile(
    r"(?P<train>train[ _-]?val|train(ing)?)|(?P<val>val|valid|validation|dev|development)"
    r"|(?P<test>test(ing)?|hold[ _-]?out|held[ _-]?out)"
)
_PART_ENDING = re.compile(r"[ _-]?(set|data|split|part|images?|files|list|\d+)$")
_CONTAINER = re.compile(r"(images?|imgs?|pics?|pictures|png|jpe?g|dicom|dcm|masks?|fold|part|batch)([ _-]?\d+)?")


def clean_name(name: str) -> str:
    """Return a name without what cannot be seen: outer and doubled blanks, Unicode form (NFKC), invisible characters.

    Two names with an equal clean form are surely the same.
    """
    if not name.isascii():
        name = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join(name.split())


def loose_key(name: str) -> str:
    """Return what is left of a name without case and number format: `P07` and `p7`, or `7.0` and `007`, are equal.

    Two names with an equal key may be the same; whoever joins them must say so.
    """
    key = clean_name(name).casefold()
    if re.fullmatch(r"\+?\d+\.0*", key):
        key = key.split(".")[0].lstrip("+")
    return re.sub(r"(?<![\d.])0+(?=\d)", "", key)


def is_blank(name: str) -> bool:
    """Say whether a cell is empty, or holds what tables write for an empty one (`nan`, `None`, `N/A`)."""
    return clean_name(name).casefold() in BLANKS


def part_of(name: str) -> str:
    """Return which part of a published split a folder or cell names (train, val or test); empty: none."""
    key = clean_name(name).casefold()
    match = _PART.fullmatch(key) or _PART.fullmatch(_PART_ENDING.sub("", key))
    return match.lastgroup or "" if match else ""


def is_container(name: str) -> bool:
    """Say whether a folder's name says how files are stored (`images`, `masks`, `fold_2`), not what they show."""
    return _CONTAINER.fullmatch(clean_name(name).casefold()) is not None


def quote_names(names: Iterable[str], limit: int = 4) -> str:
    """Return the first few names in quotes, for a message, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more
