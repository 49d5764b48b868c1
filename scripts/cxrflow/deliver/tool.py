"""X-rays in, answers out: what the command line, the page and every other user of a delivered model ask.

Reads the delivered folder, or one model.onnx, and the content of image files; prints and writes nothing. Whatever the
number of files, only a few images are in memory, and one that cannot be read does not stop the others.

    tool = open_tool(Path("results/demo/deliver/covid"))
    answer = tool.read("film.dcm", Path("film.dcm").read_bytes())
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.decode import decode_image
from cxrflow.data.headers import DecodeError
from cxrflow.data.preprocessing import Gray, preprocess_image, resize_gray
from cxrflow.data.readers.base import IMAGE_SUFFIXES
from cxrflow.data.reading import NO_MEMORY, map_in_threads, read_image_file
from cxrflow.deliver.delivered import DeliveredModel, ModelCard, open_model
from cxrflow.deliver.folder import CALIBRATION, GOLDEN, INPUT_CHECK, MODEL, read_files
from cxrflow.errors import CxrflowError
from cxrflow.results.calibration import Calibration, parse_calibration, parse_prevalence
from cxrflow.results.enlarging import enlarge
from cxrflow.results.input_check import InputCheck, unpack_input_check

BATCH_SIZE = 8  # larger ones are no faster on a CPU, and the first answer would come later
MAX_MPX = 100.0  # larger images are refused before they are decoded, megapixels
FILM_PX = 1024  # as much as a screen shows


@dataclass(frozen=True)
class Xray:
    """One X-ray, ready for the network.

    Attributes:
        image: uint8 (size_px, size_px), preprocessed as the training images were.
        plain: uint8 (size_px, size_px), resized only.
        width_px, height_px: of the picture in the file, upright.
        film: the whole picture as a viewer shows it, uint8, its longer side at most FILM_PX; where it was asked for.
        colour: mean difference between the channels, grey levels of 255; 0 of a grey picture.
    """

    image: Gray
    plain: Gray
    width_px: int
    height_px: int
    film: Gray | None = None
    notes: tuple[str, ...] = ()  # on the file, one sentence each
    colour: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What a model says about one file.

    Attributes:
        name: the file's, as it was given.
        problem: why it could not be read, or empty; then there is nothing else.
        predicted: the class, or None where the tool abstains.
        probabilities: float64 (n_classes,), in the order of the card's class names.
        warnings: why the answer should not be trusted, one sentence each.
        logits: float32 (n_classes,).
        features: float32 (n_features,), what enters the network's head.
        image: uint8 (size_px, size_px), what the network saw, where pictures were asked for.
        heatmap: uint8 (size_px, size_px), where the evidence for the most probable class lies, 255 is most, where
            pictures were asked for and the model has maps.
        film: the whole picture as a viewer shows it, uint8, its longer side at most FILM_PX, where pictures were asked
            for; stretched to its sides, image and heatmap lie over it.
    """

    name: str
    problem: str = ""
    predicted: str | None = None
    probabilities: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()
    logits: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None
    image: Gray | None = None
    heatmap: Gray | None = None
    film: Gray | None = None


class Tool:
    """A model that reads X-rays.

    Attributes:
        card: what the model says about itself.
        grid: rows and columns of its maps, or None: it has none.
        calibration, input_check: None where the folder has none.
        max_mpx: larger images are refused before they are decoded, megapixels.
        golden_difference: how far a probability of the golden images was off, at most; None: they were not read.
        metadata: content of the folder's metadata.json; empty for a model.onnx alone.
    """

    golden_difference: float | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        model: DeliveredModel,
        calibration: Calibration | None = None,
        input_check: InputCheck | None = None,
        max_mpx: float = MAX_MPX,
    ) -> None:
        """Take the parts of a delivered folder."""
        self._model = model
        self.card: ModelCard = model.card
        self.grid = model.grid
        self.calibration, self.input_check, self.max_mpx = calibration, input_check, max_mpx

    def assume_prior(self, text: str) -> None:
        """Reweigh the probabilities for patients of another prevalence, `Normal=0.9,COVID=0.1`.

        Raises:
            CxrflowError: that is not a share of each class, or the model is not calibrated.
        """
        if self.calibration is None:
            raise CxrflowError("a prior needs a calibrated model, that of a delivered folder: `snakemake deliver`")
        self.calibration = self.calibration.with_prevalence(parse_prevalence(text))

    def read(self, name: str, content: bytes, *, pictures: bool = False) -> Answer:
        """Answer for the content of one file; `name` is only repeated."""
        xray = prepare_xray(lambda: content, self.card.preprocess, self.max_mpx, film=pictures)
        (answer,) = self._answer([(name, xray)], pictures)
        return answer

    def read_files(self, paths: Iterable[Path], threads: int = 1, *, pictures: bool = False) -> Iterator[Answer]:
        """Yield one answer per file, in their order, a batch at a time.

        threads: files decoded at once.
        """
        cv2.setNumThreads(1)  # the threads here are enough; each of them would start its own
        xrays = map_in_threads(partial(self._prepare_file, film=pictures), paths, threads)
        while batch := list(islice(xrays, BATCH_SIZE)):
            yield from self._answer(batch, pictures)

    def _prepare_file(self, path: Path, *, film: bool) -> tuple[str, Xray | str]:
        return str(path), read_xray(path, self.card.preprocess, self.max_mpx, film=film)

    def _answer(self, batch: list[tuple[str, Xray | str]], pictures: bool) -> Iterator[Answer]:
        answers = self._answer_xrays([(name, found) for name, found in batch if isinstance(found, Xray)], pictures)
        for name, found in batch:
            yield Answer(name, found) if isinstance(found, str) else next(answers)

    def _answer_xrays(self, xrays: list[tuple[str, Xray]], pictures: bool) -> Iterator[Answer]:
        outputs = self._model.run(np.stack([xray.image for _, xray in xrays]), maps=pictures)
        probabilities = self.calibration.calibrate(outputs.logits) if self.calibration else outputs.probabilities
        for row, (name, xray) in enumerate(xrays):
            features = outputs.features[row]
            yield Answer(
                name,
                predicted=self._choose(probabilities[row]),
                probabilities=probabilities[row],
                warnings=(*xray.notes, *(self.input_check.list_warnings(xray) if self.input_check else ())),
                logits=outputs.logits[row],
                features=features,
                image=xray.image if pictures else None,
                heatmap=None if outputs.maps is None else self._draw_map(outputs.maps[row], probabilities[row]),
                film=xray.film,
            )

    def _draw_map(self, maps: NDArray[np.float32], probabilities: NDArray[np.float64]) -> Gray:
        side = self.card.preprocess.size_px
        return np.asarray(np.rint(255 * enlarge(maps[probabilities.argmax()], (side, side))), np.uint8)

    def _choose(self, probabilities: NDArray[np.float64]) -> str | None:
        chosen = self.calibration.choose(probabilities) if self.calibration else int(probabilities.argmax())
        return None if chosen is None else self.card.class_names[chosen]


def open_tool(place: Path, threads: int = 1) -> Tool:
    """Open a delivered folder, every file checked and the golden images read, or one model.onnx.

    threads: of ONNX Runtime.

    Raises:
        CxrflowError: a file is missing, damaged, foreign, or of another version; or a golden image is answered
            otherwise than it was.
    """
    if not place.is_dir():
        return Tool(open_model(place, threads))
    files = read_files(place)
    tool = Tool(DeliveredModel(files[MODEL], place / MODEL, threads))
    tool.golden_difference = check_golden(tool, files, place)
    if CALIBRATION in files:
        values, names = json.loads(files[CALIBRATION]), tool.card.class_names
        tool.calibration = parse_calibration(values, names, str(place / CALIBRATION))
    if INPUT_CHECK in files:
        tool.input_check = unpack_input_check(files[INPUT_CHECK], str(place / INPUT_CHECK))
    tool.metadata = json.loads(files["metadata.json"])
    return tool


def check_golden(tool: Tool, files: dict[str, bytes], place: Path) -> float:
    """Read the golden images; return how far a probability is off, at most.

    files: of the folder, {path in it: content}; place: named in errors.

    Raises:
        CxrflowError: by more than is allowed: this machine does not read X-rays as the one that delivered the model.
    """
    golden = json.loads(files[GOLDEN])
    worst = 0.0
    for name, expected in golden["probabilities"].items():
        answer = tool.read(name, files[name])
        difference = float(np.abs(to_probabilities(answer) - expected).max()) if not answer.problem else 1.0
        if not difference <= golden["tolerance"]:
            raise CxrflowError(
                f"{place / name} gives another answer than on the machine that made this folder"
                f" ({answer.problem or f'off by {difference:.2g} in a probability'}, and {golden['tolerance']:g} is"
                " allowed): nothing was read. Install the versions in requirements.txt, and if that does not help, do"
                " not use the model on this machine"
            )
        worst = max(worst, difference)
    return worst


def to_probabilities(answer: Answer) -> NDArray[np.float64]:
    """Return the softmax of an answer's logits, float64 (n_classes,): what the network itself says."""
    assert answer.logits is not None
    exponentials = np.exp(answer.logits.astype(np.float64) - answer.logits.max())
    return np.asarray(exponentials / exponentials.sum())


def read_xray(path: Path, settings: PreprocessSettings, max_mpx: float, *, film: bool = False) -> Xray | str:
    """Decode and preprocess one file, or say why it cannot be read.

    max_mpx: refuse larger images before decoding them, megapixels.
    """
    if path.is_dir():
        return prepare_xray(lambda: _refuse_folder(path), settings, max_mpx)
    return prepare_xray(lambda: read_image_file(path, max_mpx), settings, max_mpx, film=film)


def prepare_xray(
    load: Callable[[], bytes], settings: PreprocessSettings, max_mpx: float, *, film: bool = False
) -> Xray | str:
    """Decode and preprocess the content that `load` returns, or say why it cannot be read; film: keep that too."""
    try:
        decoded = decode_image(load(), max_mpx)
        plain = resize_gray(decoded.gray, settings.size_px)
        shown = shrink_film(decoded.gray) if film else None
        return Xray(
            preprocess_image(plain, settings),
            plain,
            decoded.width,
            decoded.height,
            shown,
            decoded.notes,
            decoded.colour,
        )
    except DecodeError as error:
        return str(error)
    except FileNotFoundError:
        return "it does not exist"
    except OSError as error:
        return f"it cannot be opened: {os.strerror(error.errno or 0)}"
    except MemoryError:
        return NO_MEMORY


def shrink_film(gray: Gray) -> Gray:
    """Return uint8 (H, W) with its longer side at most FILM_PX and the same proportions."""
    scale = FILM_PX / max(gray.shape)
    if scale >= 1:
        return gray
    width, height = (max(1, round(side * scale)) for side in gray.shape[::-1])
    return np.asarray(cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _refuse_folder(path: Path) -> bytes:
    os.listdir(path)  # raises where it cannot be opened
    raise DecodeError(f"this folder holds no image (files that end in {', '.join(IMAGE_SUFFIXES)}, or begin like one)")
