import cv2
import numpy as np

from cxrflow.config.settings import PreprocessSettings
from cxrflow.deliver.timing import SIDE_PX, draw_film, time_answers
from tests.models.toy import build_tiny


def test_the_drawn_film_is_as_large_a_file_as_the_nih_s() -> None:
    content = draw_film()
    film = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert film.shape == (SIDE_PX, SIDE_PX)
    assert 260_000 < len(content) < 690_000  # the smallest and the largest of 264 of the NIH's


def test_every_repeat_is_an_answer() -> None:
    times_ms = time_answers([build_tiny().eval()], "tiny", PreprocessSettings(size_px=18), repeats=4)
    assert len(times_ms) == 4
    assert min(times_ms) > 0
