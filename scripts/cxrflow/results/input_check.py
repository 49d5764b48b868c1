"""Whether a picture is like the X-rays of the training: how it lies, how it is lit, and how far it is from them.

The score is the Mahalanobis distance of the preprocessed picture, shrunk to 8 and to 24 px, from the train images (Lee
et al. 2018, NeurIPS, of a network's features): mean, and covariance shrunk as Ledoit & Wolf (2004, J. Multivar. Anal.
88:365-411) do. Its limits let 95 % of such images pass. tests/deliver/input_check.md holds it against the
distance in the network's own features, which tells a turned or inverted X-ray from an upright one hardly at all. Only
means and covariances are kept, no image.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.results.calibration import Floats

Gray = NDArray[np.uint8]
COARSE_PX, FINE_PX = 8, 24  # how it lies and is lit; texture
ACCEPTED = 0.95  # of images like those of validation
CLEARLY = 1.1  # another way up has to be nearer by this factor: 1 would do on X-rays seen so far
COLOURFUL = 12.0  # mean difference of the channels, grey levels of 255; a tinted scan of an X-ray has less
LONGEST_SIDES = 2.0  # of the longer side by the shorter one
# What is done to a picture that lies as it says, to put it right.
VIEWS: dict[str, Callable[[Gray], Gray]] = {
    "turned by 90 degrees clockwise": lambda image: np.rot90(image),
    "upside down": lambda image: np.rot90(image, 2),
    "turned by 90 degrees counter-clockwise": lambda image: np.rot90(image, 3),
    "inverted, black for white": lambda image: 255 - image,
}


class Picture(Protocol):
    """What is known of a picture: `deliver.tool.Xray`."""

    @property
    def image(self) -> Gray:
        """uint8 (size_px, size_px), preprocessed."""

    @property
    def width_px(self) -> int:
        """Of the file."""

    @property
    def height_px(self) -> int:
        """Of the file."""

    @property
    def colour(self) -> float:
        """Mean difference between its channels, grey levels of 255."""


@dataclass(frozen=True)
class InputCheck:
    """Where train images lie, and how far validation images are from them.

    Attributes:
        coarse_mean, fine_mean: float32 (side * side,) of the shrunk train images.
        coarse_whitening, fine_whitening: float32 (side * side, side * side); the distance is the length of the
            difference times it.
        coarse_limit, fine_limit: distances that 95 % of images like those of validation stay below together.
        longest_sides: longer side by shorter one, the most of any train image.
    """

    coarse_mean: Floats
    coarse_whitening: Floats
    fine_mean: Floats
    fine_whitening: Floats
    coarse_limit: Floats
    fine_limit: Floats
    longest_sides: Floats

    def measure_coarse(self, images: NDArray[np.uint8]) -> Floats:
        """Return the coarse distance of preprocessed images, uint8 (n, H, W): float64 (n,)."""
        return measure_lengths(shrink(images, COARSE_PX), self.coarse_mean, self.coarse_whitening)

    def measure_fine(self, images: NDArray[np.uint8]) -> Floats:
        """Return the fine distance of preprocessed images, uint8 (n, H, W): float64 (n,)."""
        return measure_lengths(shrink(images, FINE_PX), self.fine_mean, self.fine_whitening)

    def measure(self, images: NDArray[np.uint8]) -> Floats:
        """Return the score, float64 (n,), of preprocessed images, uint8 (n, H, W): above 1 it is far."""
        return np.maximum(self.measure_coarse(images) / self.coarse_limit, self.measure_fine(images) / self.fine_limit)

    def list_warnings(self, xray: Picture) -> tuple[str, ...]:
        """Return why a picture is unlike the training images, one sentence each; none: it is like them."""
        found = [*self._describe_file(xray), *self._describe_view(xray.image)]
        return (*found, *([] if found else self._describe_distance(xray.image)))

    def _describe_file(self, xray: Picture) -> list[str]:
        short, long = sorted((xray.width_px, xray.height_px))
        size_px = len(xray.image)
        warnings = []
        if xray.colour > COLOURFUL:
            warnings.append("it is in colour, which an X-ray is not: is it a photograph or a screenshot?")
        if 2 * short < size_px:
            warnings.append(f"it is too small: {short} px at its shorter side, and the model looks at {size_px} px")
        if long > short * max(LONGEST_SIDES, float(self.longest_sides)):
            warnings.append(f"it is {long / short:.1f} times as long as wide: is it only a part of an X-ray?")
        return warnings

    def _describe_view(self, image: Gray) -> list[str]:
        views = np.stack([image, *(np.ascontiguousarray(turn(image)) for turn in VIEWS.values())])
        as_is, *others = self.measure_coarse(views)
        best = int(np.argmin(others))
        if as_is <= self.coarse_limit or as_is < CLEARLY * others[best]:
            return []
        return [f"it looks {list(VIEWS)[best]}: put right, it would be nearer to the training images"]

    def _describe_distance(self, image: Gray) -> list[str]:
        score = float(self.measure(image[None])[0])
        if score <= 1:
            return []
        return [
            f"it is far from the training images: distance {score:.2f}, and at least 95 % of validation images are"
            " below 1; is it a frontal X-ray of a whole chest?"
        ]


def shrink(images: NDArray[np.uint8], side_px: int) -> Floats:
    """Return images, uint8 (n, H, W), as rows of side_px * side_px grey levels."""
    small = [cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).reshape(len(images), -1).astype(np.float64)


def measure_lengths(rows: Floats, mean: Floats, whitening: Floats) -> Floats:
    """Return the length of each whitened row, float64 (n,), as a share of what is expected of a train image."""
    return np.asarray(np.linalg.norm((rows - mean) @ whitening, axis=1) / len(mean) ** 0.5)


def fit_input_check(
    images: NDArray[np.uint8], train: NDArray[np.int64], val: NDArray[np.int64], longest_sides: float
) -> InputCheck:
    """Fit the distances on the train rows of preprocessed images, uint8 (N, H, W), and their limits on the val rows.

    longest_sides: of the longer side by the shorter one, in the files of the train rows.
    """
    means, whitenings = zip(
        *(fit_whitening(shrink(images[train], side_px)) for side_px in (COARSE_PX, FINE_PX)), strict=True
    )
    one, longest = np.ones(()), np.array(longest_sides)
    free = InputCheck(means[0], whitenings[0], means[1], whitenings[1], one, one, longest)
    coarse, fine = free.measure_coarse(images[val]), free.measure_fine(images[val])
    coarse_limit, fine_limit = (np.array(limit) for limit in find_limits(coarse, fine))
    return replace(free, coarse_limit=coarse_limit, fine_limit=fine_limit)


def fit_whitening(rows: Floats) -> tuple[Floats, Floats]:
    """Return the mean of rows, float64 (n, d), and the (d, d) by which a difference from it becomes a distance."""
    from sklearn.covariance import ledoit_wolf  # here: a delivered model has no scikit-learn

    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(ledoit_wolf(rows - mean, assume_centered=True)[0])
    whitening = directions / np.sqrt(np.maximum(variances, 1e-6 * variances.max()))
    return mean.astype(np.float32), whitening.astype(np.float32)


def find_limits(coarse: Floats, fine: Floats) -> tuple[float, float]:
    """Return a limit of each distance, at the same quantile, that enough images stay below in both.

    Enough are so many that about ACCEPTED of new ones do, which takes one more than of these (split conformal
    prediction: Lei et al. 2018, J. Am. Stat. Assoc. 113:1094-1111).
    """
    enough = min(1.0, np.ceil((len(coarse) + 1) * ACCEPTED) / len(coarse))
    for quantile in np.linspace(ACCEPTED, 1, 101):
        limits = float(np.quantile(coarse, quantile)), float(np.quantile(fine, quantile))
        if ((coarse <= limits[0]) & (fine <= limits[1])).mean() >= enough:
            break
    return limits


def pack_input_check(check: InputCheck) -> bytes:
    """Return the bytes of input_check.npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(check, field.name) for field in fields(check)})
    return buffer.getvalue()


def unpack_input_check(content: bytes, where: str) -> InputCheck:
    """Read what `pack_input_check` made; `where` is named in errors.

    Raises:
        CxrflowError: it is not such a file.
    """
    try:
        values: Any = np.load(io.BytesIO(content), allow_pickle=False)
        return InputCheck(**{field.name: values[field.name] for field in fields(InputCheck)})
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CxrflowError(
            f"{where} is not an input check of this version ({error}): make it again (`snakemake deliver`)"
        ) from None
