"""1024 px PNG to the packed array, on one core: `preprocess` against other libraries doing the same.

python -m tests.benchmarks.preprocess_large --size quick
"""

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.packing import pack_images
from tests.benchmarks.drawn import work_folder, write_films, write_index
from tests.benchmarks.measure import (
    IMAGES_PER_CPU_S,
    OURS,
    Goal,
    Row,
    compare,
    interleave,
    is_installed,
    require_equal,
    run_row,
)

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255

SIZES = {  # images, side of the file in px, rounds
    "full": (96, 1024, 3),
    "quick": (24, 1024, 3),
    "tiny": (4, 256, 1),
}
TARGET_PX = 224
CV2, PILLOW, SKIMAGE, KORNIA, FLOOR = "cv2 alone", "PIL", "scikit-image", "kornia_rs + cv2", "inflate + cv2"
MODULES = {SKIMAGE: "skimage", KORNIA: "kornia_rs", FLOOR: "deflate"}
EXACT = (CV2, KORNIA)  # must give our pixels
NOTE = (
    "one thread; ours also checks the SHA-256 of each file and survives a kill. Floor: libdeflate without undoing PNG's"
    " filters, then cv2's resize, equalization and blur"
)


def finish_with_cv2(gray: Gray) -> Gray:
    """Resize, equalize and blur uint8 (H, W) as the study does."""
    small = cv2.resize(gray, (TARGET_PX, TARGET_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.equalizeHist(small), (5, 5), 0))


def read_gray(path: Path) -> Gray:
    return np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE))


def decode_with_cv2(path: Path) -> Gray:
    return finish_with_cv2(read_gray(path))


def decode_with_kornia(path: Path) -> Gray:
    import kornia_rs

    return finish_with_cv2(np.asarray(kornia_rs.io.read_image_png_u8(str(path), "mono"))[..., 0])


def read_with_pillow(path: Path) -> Gray:
    with Image.open(path) as image:
        small = image.convert("L").resize((TARGET_PX, TARGET_PX), Image.Resampling.BOX)
    return np.asarray(ImageOps.equalize(small).filter(ImageFilter.GaussianBlur(1)))


def read_with_skimage(path: Path) -> Gray:
    from skimage import exposure, filters, io, transform

    small = transform.resize(io.imread(path, as_gray=True), (TARGET_PX, TARGET_PX), anti_aliasing=True)
    return np.asarray(np.round(255 * filters.gaussian(exposure.equalize_hist(small), sigma=1)), np.uint8)


def inflate_only(path: Path) -> Gray:
    """Do what no decoder can avoid: inflate, and finish. The pixels are still filtered, so the picture is wrong."""
    import deflate

    data, place, parts = path.read_bytes(), 8, []
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IHDR":
            width, height = struct.unpack(">II", data[place + 8 : place + 16])
        elif kind == b"IDAT":
            parts.append(data[place + 8 : place + 8 + length])
        place += 12 + length
    lines = deflate.zlib_decompress(b"".join(parts), height * (width + 1))
    return finish_with_cv2(np.frombuffer(lines, np.uint8).reshape(height, width + 1)[:, 1:])


CHAINS: dict[str, Callable[[Path], Gray]] = {
    CV2: decode_with_cv2,
    PILLOW: read_with_pillow,
    SKIMAGE: read_with_skimage,
    KORNIA: decode_with_kornia,
    FLOOR: inflate_only,
}


def fill_array(chain: Callable[[Path], Gray], paths: list[Path], target: Path) -> Gray:
    """Write one row per file into a memory-mapped array."""
    shape = (len(paths), TARGET_PX, TARGET_PX)
    packed = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    for number, path in enumerate(paths):
        packed[number] = chain(path)
    return packed


def pack_ours(folder: Path, index: Path, target: Path, threads: int = 1) -> Gray:
    """Preprocess every image of the index as the stage does."""
    pack_images(folder, index, PreprocessSettings(TARGET_PX), threads, target.parent / "resume", target)
    return np.load(target, mmap_mode="r")


def check_pixels(results: dict[str, Gray]) -> None:
    """Check that the sides that promise the same pixels have them, and that the others are close to them."""
    ours = np.asarray(results[OURS], np.int16)
    for name, pixels in results.items():
        differences = np.abs(ours - pixels)
        if name in EXACT:
            require_equal(f"pixels of {name}", float(differences.max()))
        elif name in (PILLOW, SKIMAGE):  # other rounding and other borders, the same picture
            require_equal(f"mean pixel of {name}", float(differences.mean()), tolerance=8)


def measure_rows(size: str) -> list[Row]:
    """Return one row per peer."""
    count, size_px, rounds = SIZES[size]
    cv2.setNumThreads(1)
    with work_folder() as folder:
        paths = write_films(folder / "films", size_px, count)
        index = write_index(folder / "films", paths, folder / "index.csv")
        chains = {name: chain for name, chain in CHAINS.items() if is_installed(MODULES.get(name, "cv2"))}
        sides: dict[str, Callable[[], Gray]] = {
            name: partial(fill_array, chain, paths, folder / f"{number}.npy")
            for number, (name, chain) in enumerate(chains.items())
        }
        timings = interleave({OURS: partial(pack_ours, folder / "films", index, folder / "ours.npy"), **sides}, rounds)
        check_pixels(timings.results)
    rates = timings.rates(count)
    what = f"preprocess {size_px} px PNG to packed {TARGET_PX} px"
    main = compare(f"{what}: cv2", IMAGES_PER_CPU_S, rates, peer=CV2, floor=FLOOR, goal=Goal(1.8), note=NOTE)
    others = [compare(f"{what}: {peer}", IMAGES_PER_CPU_S, rates, peer=peer) for peer in (PILLOW, SKIMAGE, KORNIA)]
    return [main, *others]


if __name__ == "__main__":
    run_row(measure_rows)
