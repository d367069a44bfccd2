"""Coders of JPEG files that give the very file back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lmc.bench.way import Way, of_package

PACKAGE = "imagecodecs"


def jpegxl() -> Way:
    """JPEG XL's own way with JPEG files, of which the decoder makes the very file again."""

    def call(name: str, data: bytes) -> bytes:
        return bytes(getattr(import_module(PACKAGE), name)(data))

    return Way(
        "imagecodecs.jpegxl_encode_jpeg(file)",
        lambda: str(import_module(PACKAGE).jpegxl_version()),
        lambda content: call("jpegxl_encode_jpeg", content.data),
        lambda coded: call("jpegxl_decode_jpeg", coded),
        (PACKAGE,),
        get=f"pip: {PACKAGE}",
    )


def lepton() -> Way:
    module = "lepton_jpeg_python"

    def call(name: str, data: bytes) -> bytes:
        package: Any = import_module(module)
        return bytes(getattr(package, name)(data))

    return Way(
        "lepton_jpeg_python.compress_bytes(file)",
        of_package("lepton-jpeg-python"),
        lambda content: call("compress_bytes", content.data),
        lambda coded: call("decompress_bytes", coded),
        (module,),
        get="pip: lepton-jpeg-python",
    )
