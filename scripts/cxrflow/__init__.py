"""The library of cxrflow: what the stages in scripts/ are made of. It never imports snakemake.

The folders follow the way of the data: `data` (raw folders to packed images), `models` (networks and their
training), `results` (predictions to metrics and explanations), `report` (tables, figures and the page).
`phantoms` draws test data. The modules beside this file serve all of them: settings, files, tables, stages, study.
"""

import os
import warnings

# A file that cannot be read is reported once, by its name, and not by cv2 and Pillow too. Said here, before any module
# of the library can import cv2, which looks only then.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
