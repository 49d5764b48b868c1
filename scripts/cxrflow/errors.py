"""The one exception that a user of cxrflow is meant to read, and text that a terminal can show."""

import unicodedata

# Of Unicode: control (a terminal takes some as commands), surrogate, line and paragraph separator, and format (which
# turns the direction of writing), but for the two joiners that some languages write with.
CONTROLS = ("Cc", "Cs", "Zl", "Zp", "Cf")
JOINERS = "\u200c\u200d"


class CxrflowError(Exception):
    """A problem that the user can mend.

    The message says what is wrong, where (path, image_id, key), what was expected and what to do. A stage prints it
    without a traceback and exits with status 1.
    """


def is_control(character: str) -> bool:
    """Return whether a character is not to be seen, but commands what shows it."""
    return unicodedata.category(character) in CONTROLS and character not in JOINERS


def escape_controls(text: str, keep: str = "") -> str:
    r"""Return text without commands to a terminal: `\x1b` and its like are written out; those in `keep` stay."""
    return "".join(repr(c)[1:-1] if is_control(c) and c not in keep else c for c in text)
