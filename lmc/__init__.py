"""Lossless compression with pretrained models, exact on every machine.

    >>> import lmc
    >>> small = lmc.compress(b"the same bytes out" * 100)
    >>> lmc.decompress(small) == b"the same bytes out" * 100
    True

At once: `compress`, `decompress`. In pieces: `Compressor`, `Decompressor`. As a file: `open`,
`LmcFile`. Between streams: `compress_stream`, `decompress_stream`, `verify_stream`. What is in a
file: `inspect`. All of them raise `LmcError` and its kinds (`lmc.errors`), and nothing prints.

The names and manners are those of `bz2` and `lzma`. The options are those of `Settings`: a level
from 0 (stored) to 9, a model, threads, the size of a frame, a codec. What is written depends on the
content and these options, but not on threads, nor on how the content was cut into
pieces.

**Compatibility.** A file written by a released lmc decodes with every later lmc, on every machine,
to the same bytes. The files themselves may change from version to version: a later lmc may
compress the same content to other, smaller files.
"""

from lmc.codecs.base import Settings
from lmc.container import DEFAULT_MEMORY_LIMIT
from lmc.errors import (
    Corrupt,
    LmcError,
    ModelMissing,
    NotLmc,
    TooMuchMemory,
    Truncated,
    Unsupported,
    Usage,
)
from lmc.fileobject import LmcFile, open
from lmc.info import Info, inspect
from lmc.stream import (
    Compressor,
    Decompressor,
    Totals,
    compress,
    compress_stream,
    decompress,
    decompress_stream,
    verify_stream,
)

__version__ = "0.2.0"

__all__ = [
    "DEFAULT_MEMORY_LIMIT",
    "Compressor",
    "Corrupt",
    "Decompressor",
    "Info",
    "LmcError",
    "LmcFile",
    "ModelMissing",
    "NotLmc",
    "Settings",
    "TooMuchMemory",
    "Totals",
    "Truncated",
    "Unsupported",
    "Usage",
    "compress",
    "compress_stream",
    "decompress",
    "decompress_stream",
    "inspect",
    "open",
    "verify_stream",
]
