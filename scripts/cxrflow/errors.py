"""The one exception that a user of cxrflow is meant to read."""


class CxrflowError(Exception):
    """A problem that the user can mend.

    The message says what is wrong, where (path, image_id, key), what was expected and what to do. A stage prints it
    without a traceback and exits with status 1.
    """
