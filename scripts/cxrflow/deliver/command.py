"""The commands of a delivered folder, `python run read FILES...` and the like; needs nothing of a workflow."""

import argparse
import os
import sys
from pathlib import Path

from cxrflow.deliver.tool import MAX_MPX, open_tool
from cxrflow.deliver.xrays import count_cores, print_answers
from cxrflow.errors import CxrflowError, escape_controls


def main(folder: Path) -> int:
    """Run the command line of the delivered folder that it is given; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a console that lacks a letter
    arguments = build_parser().parse_args()
    try:
        arguments.run(folder, arguments)
    except CxrflowError as error:
        print(f"error: {escape_controls(str(error), keep=chr(10))}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads any more, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    return 0


PRIOR = "share of each class among the people who are X-rayed, such as Normal=0.9,COVID=0.1; default: as in the data"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser: one command each, with the function that runs it as `run`."""
    parser = argparse.ArgumentParser(prog="run", description="Reads chest X-rays with the model in this folder.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    read = commands.add_parser("read", help="read X-rays and print what the model says")
    read.set_defaults(run=read_xrays)
    read.add_argument(
        "xrays", nargs="+", type=Path, metavar="FILE", help="image files, DICOM files, or folders of them"
    )
    read.add_argument("--csv", type=Path, metavar="PATH", help="also write the answers to this table")
    read.add_argument("--maps", type=Path, metavar="FOLDER", help="also write pictures of where the evidence lies")
    read.add_argument("--threads", type=int, default=count_cores(), metavar="N", help="CPU threads; default: all cores")
    read.add_argument(
        "--max-image-mpx", type=float, default=MAX_MPX, metavar="MPX", help="refuse larger images, megapixels"
    )
    read.add_argument("--prior", default="", metavar="CLASS=SHARE,...", help=PRIOR)
    serve = commands.add_parser("serve", help="read X-rays on a page in the browser of this computer")
    serve.set_defaults(run=lambda folder, arguments: open_page(folder, arguments.port, not arguments.no_browser))
    serve.add_argument("--port", type=int, metavar="N", help="default: 8437, or any that is free where that is busy")
    serve.add_argument("--no-browser", action="store_true", help="only print the page's address")
    check = commands.add_parser("check", help="check every file, and the answers for the golden images")
    check.set_defaults(run=check_folder)
    return parser


def read_xrays(folder: Path, arguments: argparse.Namespace) -> None:
    """Print what the model says about X-rays."""
    tool = open_tool(folder, arguments.threads)
    tool.max_mpx = arguments.max_image_mpx
    if arguments.prior:
        tool.assume_prior(arguments.prior)
    print_answers(tool, arguments.xrays, arguments.threads, arguments.csv, arguments.maps)


def open_page(place: Path, port: int | None, open_browser: bool) -> None:
    """Serve the page of a delivered folder, or of one model.onnx, until Ctrl-C.

    Raises:
        CxrflowError: a package is missing, the port cannot be used, or the model is not as it was delivered.
    """
    try:
        from cxrflow.deliver.serving import serve_tool
    except ModuleNotFoundError as error:
        raise CxrflowError(f"the page needs the package {error.name}: python -m pip install fastapi uvicorn") from None
    serve_tool(open_tool(place, count_cores()), port, open_browser)


def check_folder(folder: Path, _arguments: argparse.Namespace) -> None:
    """Print that all is as it was delivered; opening the tool has looked."""
    tool = open_tool(folder, count_cores())
    print(escape_controls(tool.card.describe()))
    print(f"Every file is as it was delivered, and the golden images give the same to {tool.golden_difference:.1g}.")
