"""PNG files to the packed array: large ones against other libraries, small ones against PNG files, and two threads.

python -m tests.benchmarks.preprocess --size quick
"""

import os
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
from tests.benchmarks.inputs import work_folder, write_films, write_index
from tests.benchmarks.measure import (
    IMAGES_PER_CPU_S,
    IMAGES_PER_S,
    OURS,
    Goal,
    Row,
    compare,
    interleave,
    is_installed,
    require_equal,
    run_row,
    skip,
)

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255

LARGE = {"full": (96, 1024, 3), "quick": (24, 1024, 3), "tiny": (4, 256, 1)}  # images, side of the file in px, rounds
SMALL = {"full": (480, 5), "quick": (120, 3), "tiny": (6, 1)}  # images, rounds
THREADED = {"full": (1_200, 1024, 2), "quick": (520, 1024, 2), "tiny": (4, 128, 1)}  # images, px, rounds
TARGET_PX = 224
CV2, PILLOW, SKIMAGE, KORNIA, FLOOR = "cv2 alone", "PIL", "scikit-image", "kornia_rs + cv2", "inflate + cv2"
MODULES = {SKIMAGE: "skimage", KORNIA: "kornia_rs", FLOOR: "deflate"}
EXACT = (CV2, KORNIA)  # must give our pixels
SMALL_PX = 299
FILES, MEMORY = "cv2 to PNG files", "cv2 in memory"
ONE, TWICE = "1 thread", "twice 1 thread"
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
    """Do what no decoder can avoid: inflate, and finish. The pixels are still filtered, so the image is wrong."""
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
        elif name in (PILLOW, SKIMAGE):  # other rounding and other borders, the same image
            require_equal(f"mean pixel of {name}", float(differences.mean()), tolerance=8)


def measure_large(size: str) -> list[Row]:
    """Return one row per library."""
    count, size_px, rounds = LARGE[size]
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


def write_files(paths: list[Path], target: Path) -> None:
    """Write every preprocessed image as a PNG file of its own."""
    target.mkdir(exist_ok=True)
    for number, path in enumerate(paths):
        cv2.imwrite(str(target / f"{number}.png"), decode_with_cv2(path))


def keep_in_memory(paths: list[Path]) -> list[Gray]:
    return [decode_with_cv2(path) for path in paths]


def measure_small(size: str) -> Row:
    """Return the row of small files."""
    count, rounds = SMALL[size]
    with work_folder() as folder:
        paths = write_films(folder / "films", SMALL_PX, count)
        index = write_index(folder / "films", paths, folder / "index.csv")
        timings = interleave(
            {
                OURS: partial(pack_ours, folder / "films", index, folder / "ours.npy"),
                FILES: partial(write_files, paths, folder / "files"),
                MEMORY: partial(keep_in_memory, paths),
            },
            rounds,
        )
        files = np.stack([read_gray(folder / "files" / f"{number}.png") for number in range(count)])
        difference = np.abs(files.astype(np.int16) - timings.results[OURS]).max()
        require_equal("pixels of the PNG files", float(difference))
    what = f"preprocess {SMALL_PX} px PNG to packed {TARGET_PX} px"
    note = "one thread; floor: decode, resize, equalize and blur with cv2 alone, nothing written"
    rates = timings.rates(count)
    return compare(what, IMAGES_PER_CPU_S, rates, peer=FILES, floor=MEMORY, goal=Goal(3), note=note)


def measure_threads(size: str) -> Row:
    """Return the row of two threads against one, on the wall clock."""
    count, size_px, rounds = THREADED[size]
    what = f"preprocess {size_px} px PNG with 2 threads"
    if len(os.sched_getaffinity(0)) < 2:
        return skip(what, "this machine has one core", "1.9x")
    with work_folder() as folder:
        films = folder / "films"
        index = write_index(films, write_films(films, size_px, count), folder / "index.csv")
        two, one = (partial(pack_ours, films, index, folder / f"{threads}.npy", threads) for threads in (2, 1))
        timings = interleave({OURS: two, ONE: one}, rounds)
        require_equal("pixels of 1 thread", float(np.any(timings.results[OURS] != timings.results[ONE])))
    rates = {name: [count / value for value in values] for name, values in timings.wall_s.items()}
    rates[TWICE] = [2 * rate for rate in rates[ONE]]
    what = f"{what} to {TARGET_PX} px"
    note = "wall clock, so other work on the machine counts against it, and so does beginning the processes"
    return compare(what, IMAGES_PER_S, rates, peer=ONE, floor=TWICE, goal=Goal(1.9), note=note)


def measure_rows(size: str) -> list[Row]:
    """Return the rows of large files, of small ones, and of two threads."""
    cv2.setNumThreads(1)
    return [*measure_large(size), measure_small(size), measure_threads(size)]


if __name__ == "__main__":
    run_row(measure_rows)
