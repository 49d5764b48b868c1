"""A checksum inside the file that it is about: model.onnx travels alone, and a flipped bit in it is noticed.

ONNX Runtime checks nothing but the structure: changed weights load silently. An ONNX file is a message of Protocol
Buffers, which may be extended by appending to it, so the seal is one more entry of the metadata, `cxrflow_sha256`, at
the very end: the SHA-256 of all bytes before it. Every other reader of ONNX sees an ordinary file. The seal shows
damage; it does not prove who made the file. Source: https://protobuf.dev/programming-guides/encoding/ and field 14,
`metadata_props`, of ModelProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_bytes

KEY = b"cxrflow_sha256"
DIGEST_BYTES = 64  # in hex digits
METADATA_TAG, KEY_TAG, VALUE_TAG = 14 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2  # field number, then 2 for "with a length"
ENTRY = bytes([KEY_TAG, len(KEY)]) + KEY + bytes([VALUE_TAG, DIGEST_BYTES])
HEAD = bytes([METADATA_TAG, len(ENTRY) + DIGEST_BYTES]) + ENTRY
SEAL_BYTES = len(HEAD) + DIGEST_BYTES


def seal_model(content: bytes) -> bytes:
    """Return the bytes of an ONNX file with their seal at the end."""
    return content + HEAD + sha256_bytes(content).encode()


def read_sealed(path: Path) -> bytes:
    """Return the bytes of a sealed ONNX file, seal included.

    Raises:
        CxrflowError: it is missing, not exported by cxrflow, cut off, or changed since.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise CxrflowError(f"{path} is no file: export a model first, {HOW_TO_EXPORT}") from None
    if path.suffix == ".pt":
        raise CxrflowError(f"{path} is a model of PyTorch: export it first, {HOW_TO_EXPORT}")
    content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if not seal.startswith(HEAD):
        raise CxrflowError(
            f"{path} does not end with the seal of cxrflow: it is cut off, or another program wrote or changed it, "
            f"and how to prepare images for it is unknown. Copy it again, or export it, {HOW_TO_EXPORT}"
        )
    if seal.removeprefix(HEAD) != sha256_bytes(content).encode():
        raise CxrflowError(
            f"{path} is damaged: its content is not what its seal says. Copy it again, or export it, {HOW_TO_EXPORT}"
        )
    return data


HOW_TO_EXPORT = "for example `snakemake results/<study>/models/.../seed0/model.onnx`"
