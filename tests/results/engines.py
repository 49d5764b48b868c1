"""The engines of t-SNE, for tests that hold for each."""

import platform
import sys

import pytest

has_opentsne = pytest.mark.skipif(
    sys.platform == "linux" and platform.machine() != "x86_64", reason="openTSNE has no wheel for this machine"
)
each_engine = pytest.mark.parametrize("engine", ["sklearn", pytest.param("opentsne", marks=has_opentsne)])
