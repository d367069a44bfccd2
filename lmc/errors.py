"""What can go wrong, as types that a program can act on.

    LmcError                 exit code 1, the root: catch this one
    ├── Usage                1   options that contradict each other or are out of range
    ├── NotLmc               1   the bytes are of some other format
    ├── Unsupported          1   intact, but made by a newer lmc than this one
    ├── Corrupt              1   damaged, or never valid
    │   └── Truncated        1   … and the damage is that the end is missing
    ├── TooMuchMemory        1   decoding needs more memory than the caller allows
    └── ModelMissing         3   the model that the file names is not installed

`Corrupt` against `Unsupported` is decided by checks, never by guessing: only a
header whose own checksum is right may be called newer (FORMAT.md, section 1.4).

Only `lmc.cli` prints and exits; it shows `str(error)` as one line and
`error.hint`, if there is one, as a second. Exit code 2 is its own, for mere warnings.
"""

from __future__ import annotations


class LmcError(Exception):
    """Any failure that lmc foresees. `hint` says what to try; it may be empty."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Usage(LmcError):
    """The options make no sense (a level of 12, a mode that does not exist)."""


class NotLmc(LmcError):
    """The bytes do not begin like an lmc file."""


class Unsupported(LmcError):
    """Well formed as far as can be told, but made by a newer lmc."""

    def __init__(self, message: str, *, hint: str = "a newer version of lmc may read it") -> None:
        super().__init__(message, hint=hint)


class Corrupt(LmcError):
    """The bytes contradict themselves: damaged on the way, or forged."""


class Truncated(Corrupt, EOFError):
    """The file ends too early. Also an EOFError, as `bz2` and `lzma` raise."""


class TooMuchMemory(LmcError):
    """The file declares more memory than the limit allows (both in bytes)."""

    def __init__(self, needed: int, limit: int) -> None:
        super().__init__(
            f"decoding needs up to {_mebibytes(needed)} of memory, "
            f"the limit is {_mebibytes(limit)}",
            hint=f"raise the memory limit to {_mebibytes(needed)} if you trust the file",
        )
        self.needed = needed
        self.limit = limit


class ModelMissing(LmcError):
    """A model is asked for, by a file or by an option, that is not installed."""

    exit_code = 3


def _mebibytes(size: int) -> str:
    return f"{-(-size >> 20)} MiB"
