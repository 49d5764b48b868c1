"""From the cell of a table to the file that it names, and for a cell without one to the nearest file."""

import difflib
import os
from collections import defaultdict
from pathlib import Path, PureWindowsPath

from cxrflow.data.readers.base import escape_name
from cxrflow.data.readers.keys import clean_name
from cxrflow.errors import CxrflowError


class FileFinder:
    """Finds the file that a table's cell names."""

    def __init__(self, folder: Path, paths: list[str]) -> None:
        """Keep every image path below the folder, by its clean form and by that of its file name."""
        self.folder = folder
        self.paths = set(paths)
        self.by_form: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            for form in {clean_name(path), clean_name(path.rsplit("/", 1)[-1])}:
                self.by_form[form].append(path)

    def find(self, image: str, where: str) -> str | None:
        """Return the path relative to the folder, or None if there is no such file.

        Raises:
            CxrflowError: an empty cell, a path out of the folder, or a file name that several folders hold.
        """
        image = image.strip()
        if not image:
            raise CxrflowError(f"{where}: the image's name is empty")
        path = os.path.normpath(os.path.relpath(image, self.folder) if os.path.isabs(image) else image)
        if path in self.paths:
            return path
        path = os.path.normpath(path.replace("\\", "/"))
        if path.startswith(".."):
            raise CxrflowError(f"{where}: {image!r} lies outside {self.folder}; give paths relative to it")
        matches = self.by_form.get(clean_name(path), [])
        if len(matches) > 1:
            raise CxrflowError(
                f"{where}: {image!r} is in {matches[0]} and {matches[1]}; give the path relative to {self.folder}"
            )
        return matches[0] if matches else None

    def describe_missing(self, missing: list[tuple[int, str]]) -> list[str]:
        """Return a note on the cells (line, image) without a file, with the first of them and its nearest file."""
        if not missing:
            return []
        line, image = missing[0]
        near = self.find_nearest(image)
        hint = f"; the nearest file is {escape_name(near)!r}, where {tell_apart(image, near)}" if near else ""
        return [f"the first listed image without a file is {image!r} in line {line}{hint}"]

    def find_nearest(self, image: str) -> str:
        """Return the file whose name is most like the cell's; empty: none is."""
        stems: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            stems[Path(path).stem.casefold()].append(path)
        name = PureWindowsPath(image.strip()).name.casefold()  # splits at both slashes
        stem = name if name in stems else PureWindowsPath(name).stem
        close = [stem] if stem in stems else difflib.get_close_matches(stem, stems, n=1)
        return stems[close[0]][0] if close else ""


def tell_apart(image: str, path: str) -> str:
    """Say what tells a cell from the path of a file."""
    cell = PureWindowsPath(image.strip())
    file = PureWindowsPath(path)
    folders = cell.parent.relative_to(cell.anchor).parts  # none: a file name alone would do
    differing = [
        name
        for name, one, other in (
            ("the drive", cell.drive, file.drive),
            ("the folder", folders or file.parent.parts, file.parent.parts),
            ("the name", cell.stem.casefold(), file.stem.casefold()),
            ("the case", cell.stem, file.stem if cell.stem.casefold() == file.stem.casefold() else cell.stem),
            ("the suffix", cell.suffix, file.suffix),
        )
        if one != other
    ]
    return f"{' and '.join(differing) or 'nothing'} {'differ' if len(differing) > 1 else 'differs'}"
