"""Read new X-rays on a page in the browser of this computer.

Reads a delivered folder or model.onnx, and writes nothing. The page is for this computer only, needs no network and
keeps no file; Ctrl-C ends it. Research software, not a medical device: nothing it says is a diagnosis.

    python scripts/serve.py --model results/demo/deliver/covid
"""

from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.deliver.command import open_page


def serve(*, model: Path, port: int | None = None, no_browser: bool = False) -> None:
    """Serve the page of a model until Ctrl-C.

    model: a delivered folder, or model.onnx
    port: of this computer; without it 8437, or any that is free where that is busy
    no_browser: only print the address
    """
    open_page(model, port, open_browser=not no_browser)


if __name__ == "__main__":
    run_stage(serve)
