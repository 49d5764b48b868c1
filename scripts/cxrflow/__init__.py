"""The library of cxrflow: what the stages in scripts/ are made of. It never imports snakemake.

The folders follow the way of the data: files and config, data, models, results, compare, checks, select, deliver,
report; operate is for the commands of a user. CONTRIBUTING.md says what each of them holds, and where to add what.
"""

import os
import warnings

# A file that cannot be read is reported once, by its name, and not by cv2 and Pillow too. Said here, before any module
# of the library can import cv2, which looks only then.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# ONNX Runtime's own packages report each start to Microsoft since 1.29: program, machine, an id that they keep in the
# home folder (its Privacy.md). Who reads X-rays tells nobody. It looks when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
