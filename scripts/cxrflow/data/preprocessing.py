"""What is done to every gray image, for training and for reading a new X-ray alike: resize, equalize, blur.

Pure functions on arrays; `preprocess_image` is the only door, because two resize functions differ by up to 25 grey
levels.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255


def preprocess_image(gray: Gray, settings: PreprocessSettings) -> Gray:
    """Resize, then equalize, then blur, each as the settings say.

    gray: uint8 (H, W), 0-255. Returns uint8 (size_px, size_px).
    """
    image = resize_gray(gray, settings.size_px)
    if settings.equalize:
        image = equalize(image)
    if settings.blur_px:
        image = blur(image, settings.blur_px)
    return image


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


def blur(gray: Gray, kernel_px: int) -> Gray:
    """Blur uint8 (H, W) with a Gaussian of an odd kernel; borders are reflected.

    The weights follow from the kernel's side, as cv2.getGaussianKernel chooses them for sigma 0: the binomial
    (1 4 6 4 1) / 16 in each direction for the study's 5 px.
    """
    return _gray(cv2.GaussianBlur(gray, (kernel_px, kernel_px), 0))


def _gray(image: object) -> Gray:
    return np.asarray(image, dtype=np.uint8)
