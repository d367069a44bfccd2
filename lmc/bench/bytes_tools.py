"""Compressors of any bytes: Python's own, and packages."""

from __future__ import annotations

import bz2
import gzip as gzip_module
import lzma
import platform
import zlib
from importlib import import_module
from typing import Any

from lmc.bench.content import Content
from lmc.bench.way import Way, of_package

MIB = 1 << 20


def gzip() -> Way:
    return Way(
        "gzip.compress(data, 9)",
        lambda: f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
        lambda content: gzip_module.compress(content.data, 9, mtime=0),
        gzip_module.decompress,
    )


def _python() -> str:
    """Python does not say what its libraries of bzip2 and xz are."""
    return f"Python {platform.python_version()}"


def bzip2() -> Way:
    return Way(
        "bz2.compress(data, 9)", _python, lambda content: bz2.compress(content.data), bz2.decompress
    )


def xz() -> Way:
    preset = 9 | lzma.PRESET_EXTREME
    return Way(
        "lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)",
        _python,
        lambda content: lzma.compress(content.data, preset=preset),
        lzma.decompress,
    )


def _zstd_version() -> str:
    return "zstd " + ".".join(map(str, import_module("zstandard").ZSTD_VERSION))


def _zstd_back(coded: bytes) -> bytes:
    restored: bytes = import_module("zstandard").ZstdDecompressor().decompress(coded)
    return restored


def _zstd(command: str, pack: Any) -> Way:
    return Way(command, _zstd_version, pack, _zstd_back, ("zstandard",), get="pip: zstandard")


def zstd(level: int) -> Way:
    def pack(content: Content) -> bytes:
        # The checksum of four bytes is what the program writes.
        coder = import_module("zstandard").ZstdCompressor(level=level, write_checksum=True)
        packed: bytes = coder.compress(content.data)
        return packed

    return _zstd(f"ZstdCompressor(level={level}, write_checksum=True).compress(data)", pack)


def zstd_long() -> Way:
    options = {"window_log": 27, "enable_ldm": True, "write_checksum": True}

    def pack(content: Content) -> bytes:
        module = import_module("zstandard")
        # As the program does, for the size at hand: tables for a gigabyte would cost time alone.
        parameters = module.ZstdCompressionParameters.from_level(
            22, source_size=len(content.data), **options
        )
        packed: bytes = module.ZstdCompressor(compression_params=parameters).compress(content.data)
        return packed

    command = "ZstdCompressionParameters.from_level(22, window_log=27, enable_ldm=True)"
    return _zstd(command, pack)


def _simple(
    module: str, package: str, command: str, pack: dict[str, Any], unpack: dict[str, Any]
) -> Way:
    """A package with `compress` and `decompress` that take these arguments."""

    def there(content: Content) -> bytes:
        packed: bytes = import_module(module).compress(content.data, **pack)
        return packed

    def back(coded: bytes) -> bytes:
        restored: bytes = import_module(module).decompress(coded, **unpack)
        return restored

    return Way(command, of_package(package), there, back, (module,), get=f"pip: {package}")


def brotli() -> Way:
    options = {"quality": 11, "lgwin": 24}
    command = "brotli.compress(data, quality=11, lgwin=24)"
    return _simple("brotli", "brotli", command, options, {})


def bzip3() -> Way:
    def pack(content: Content) -> bytes:
        # One block, as -b 511 makes it, but without the memory of a larger one.
        size = min(511, len(content.data) // MIB + 1) * MIB
        packed: bytes = import_module("bz3").compress(content.data, block_size=size)
        return packed

    def unpack(coded: bytes) -> bytes:
        restored: bytes = import_module("bz3").decompress(coded)
        return restored

    command = "bz3.compress(data, block_size=…), one block up to 511 MiB"
    return Way(
        command,
        lambda: f"bzip3 {import_module('bz3').libversion()}",
        pack,
        unpack,
        ("bz3",),
        get="pip: bzip3",
    )


def ppmd() -> Way:
    options = {"max_order": 16, "mem_size": 256 * MIB}
    command = "pyppmd.compress(data, max_order=16, mem_size=256 << 20), variant I"
    return _simple("pyppmd", "pyppmd", command, options, options)


def kanzi(level: int) -> Way:
    """The package is a port to Rust, not the original."""
    return _simple("kanzi", "kanzi", f"kanzi.compress(data, level={level})", {"level": level}, {})


def zpaq() -> Way:
    # As the program does: it looks at the content, and stores a checksum.
    options = {"level": 5, "threads": 1, "hints": True, "verify": True}
    command = "zpaq.compress(data, level=5, threads=1, hints=True, verify=True)"
    return _simple("zpaq", "zpaq", command, options, {"threads": 1, "verify": True})
