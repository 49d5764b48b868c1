"""What is done to every gray image, for training and for reading a new X-ray alike: resize, equalize, gamma, blur.

Pure functions on arrays; `preprocess_image` is the only door, because two resize functions differ by up to 25 grey
levels.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255


def preprocess_image(gray: Gray, settings: PreprocessSettings) -> Gray:
    """Resize, then equalize, then gamma, then blur, each as the settings say.

    gray: uint8 (H, W), 0-255. Returns uint8 (size_px, size_px).
    """
    *_, last = preprocessing_steps(gray, settings).values()
    return last


def preprocessing_steps(gray: Gray, settings: PreprocessSettings) -> dict[str, Gray]:
    """Return the image after every step that the settings take, by the step's title; the last is what training sees."""
    size_px, kernel_px = settings.size_px, settings.blur_px
    last = resize_gray(gray, size_px)
    steps = {f"Resized to {size_px} px": last}
    if settings.equalize == "histogram":
        last = steps["Histogram equalized"] = equalize(last)
    if settings.equalize == "clahe":
        last = steps["Equalized (CLAHE)"] = equalize_parts(last, settings.clahe_clip, settings.clahe_tiles)
    if settings.gamma != 1:
        last = steps[f"Gamma {settings.gamma:g}"] = adjust_gamma(last, settings.gamma)
    if kernel_px:
        steps[f"Blurred, {kernel_px}x{kernel_px} px"] = blur(last, kernel_px)
    return steps


def resize_gray(gray: Gray, size_px: int) -> Gray:
    """Resize uint8 (H, W) to (size_px, size_px).

    The image is squeezed to the square, as in the study: nothing is cut off and no border is added that a network could
    learn from, at the price of the aspect ratio. Shrinking averages areas (INTER_AREA), which neither aliases nor
    rings; where a side has to grow, linear interpolation.
    """
    height, width = gray.shape
    if (height, width) == (size_px, size_px):
        return gray
    way = cv2.INTER_LINEAR if min(height, width) < size_px else cv2.INTER_AREA
    return _gray(cv2.resize(gray, (size_px, size_px), interpolation=way))


def equalize(gray: Gray) -> Gray:
    """Spread the grey levels of uint8 (H, W) evenly over 0-255 (global histogram equalization, cv2.equalizeHist)."""
    return _gray(cv2.equalizeHist(gray))


def equalize_parts(gray: Gray, clip: float, n_tiles: int) -> Gray:
    """Equalize n_tiles x n_tiles parts of uint8 (H, W), with even transitions (CLAHE, cv2.createCLAHE).

    Zuiderveld 1994, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV. No grey level of a part counts
    for more than clip times its share if all were equally frequent.
    """
    return _gray(cv2.createCLAHE(clip, (n_tiles, n_tiles)).apply(gray))


def adjust_gamma(gray: Gray, gamma: float) -> Gray:
    """Raise the grey levels of uint8 (H, W), as shares of 255, to a power."""
    return _gray(cv2.LUT(gray, np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)))


def blur(gray: Gray, kernel_px: int) -> Gray:
    """Blur uint8 (H, W) with a Gaussian of an odd kernel; borders are reflected.

    The weights follow from the kernel's side, as cv2.getGaussianKernel chooses them for sigma 0: the binomial
    (1 4 6 4 1) / 16 in each direction for the study's 5 px.
    """
    return _gray(cv2.GaussianBlur(gray, (kernel_px, kernel_px), 0))


def _gray(image: object) -> Gray:
    return np.asarray(image, dtype=np.uint8)
