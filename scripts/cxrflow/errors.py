"""The one exception that a user of cxrflow is meant to read, and text that a terminal can show."""

import re

# Control characters (a terminal takes some as commands), ends of lines, and what reverses the order of the text.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class CxrflowError(Exception):
    """A problem that the user can mend.

    The message says what is wrong, where (path, image_id, key), what was expected and what to do. A stage prints it
    without a traceback and exits with status 1.
    """


def escape_controls(text: str, keep: str = "") -> str:
    r"""Return text without commands to a terminal: `\x1b` and its like are written out; those in `keep` stay."""
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)
