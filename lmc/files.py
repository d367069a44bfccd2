"""Files as a careful tool handles them: names, permissions, renaming into place.

Nothing in here knows what compression is. The rules:

- a name appears complete or not at all: content goes to a temporary file beside it, which
  only its owner can read, and is renamed when everything has succeeded;
- a source is never touched, unless its removal was asked for, and then only after its
  successor is safely on the disk;
- whatever ends the program, an error or a signal, no temporary file stays behind.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO

from lmc.errors import LmcError

SUFFIX = ".lmc"
STREAM = "-"  # as a file name: standard input or standard output


class Skipped(LmcError):
    """A file is left alone on purpose: a warning, not a failure."""

    exit_code = 2


# Names ----------------------------------------------------------------------------------


def compressed_name(path: str, suffix: str = SUFFIX) -> str:
    """The name that `path` gets when it is compressed.

    >>> compressed_name("notes/today.txt")
    'notes/today.txt.lmc'
    """
    return path + suffix


def restored_name(path: str, suffix: str = SUFFIX) -> str:
    """The name that `path` had before it was compressed. Raises LmcError if none can be told.

    >>> restored_name("notes/today.txt.lmc")
    'notes/today.txt'
    """
    if not has_suffix(path, suffix):
        raise LmcError(
            f"its name does not end in {suffix}",
            hint="say where the content goes with -o FILE, or -c for standard output",
        )
    return path[: -len(suffix)]


def has_suffix(path: str, suffix: str = SUFFIX) -> bool:
    """Whether `path` is named like a compressed file (a bare `.lmc` is not)."""
    name = os.path.basename(path)
    return name.endswith(suffix) and name != suffix


def expand(
    path: str, recursive: bool, unreadable: Callable[[OSError], None]
) -> Iterator[tuple[str, bool]]:
    """The path itself, or with `recursive` the regular files below a folder, in order.

    True marks those that were found in a folder. Symbolic links in it are left out, and folders
    that cannot be read are passed to `unreadable`.
    """
    if not recursive or path == STREAM or os.path.islink(path) or not os.path.isdir(path):
        yield path, False
        return
    for folder, below, names in os.walk(path, onerror=unreadable):
        below.sort()  # os.walk goes on in this order
        for name in sorted(names):
            found = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(found).st_mode):
                yield found, True


def printable(text: str) -> str:
    r"""`text` for people: control characters and undecodable bytes become escapes.

    >>> print(printable("bell\a.txt"))
    bell\x07.txt
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


# Sources --------------------------------------------------------------------------------


@contextmanager
def source(path: str, *, follow: bool, special: bool) -> Iterator[BinaryIO]:
    """Open `path` for reading.

    Symbolic links are followed only if `follow`, and things that are no regular files (pipes,
    devices) opened only if `special`. Raises Skipped or OSError.
    """
    if path == STREAM:
        yield sys.stdin.buffer
        return
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        if not follow:
            raise Skipped("is a symbolic link", hint="-k or -f follows it")
        status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise Skipped("is a folder", hint="-r takes the files in it")
    if not stat.S_ISREG(status.st_mode) and not special:
        raise Skipped("is not a regular file", hint="-c or -o reads it")
    with open(path, "rb") as file:
        yield file


def length(file: BinaryIO) -> int | None:
    """The size of an open regular file; None for pipes and devices, which do not know."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def is_same(file: BinaryIO, other: str | int) -> bool:
    """Whether an open file and a path (or descriptor) are one regular file, however named."""
    try:
        theirs = os.stat(other)
    except OSError:
        return False
    ours = os.fstat(file.fileno())
    return stat.S_ISREG(ours.st_mode) and os.path.samestat(ours, theirs)


def remove_source(path: str, opened: os.stat_result) -> None:
    """Remove `path`, unless it is no longer the file that was opened."""
    if not os.path.samestat(os.lstat(path), opened):
        raise LmcError("was replaced meanwhile, so it is not removed")
    os.unlink(path)


# Targets --------------------------------------------------------------------------------

# Temporary files that exist at this moment; `remove_on_signal` clears them.
_unfinished: set[str] = set()


@contextmanager
def target(
    path: str, *, like: os.stat_result | None, replace: bool, durable: bool
) -> Iterator[BinaryIO]:
    """A file to write whose content appears as `path` when the block ends without an error.

    Takes mode, times and, as far as this user may, owner from `like`. An existing file is
    replaced only if `replace`. `durable` waits until content and name are on the disk. A
    `path` that is a device or a pipe is written directly.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:  # a folder fails here, as it should
            yield file
        return
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}.part")
    _unfinished.add(temporary)
    try:
        # Without a source to take the mode from, the user's umask decides as for any new file.
        mode = 0o600 if like else 0o666
        descriptor = _create(temporary, mode, path)
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            if like:
                _copy_attributes(like, descriptor)
            if durable:
                os.fsync(descriptor)
        if not replace:
            refuse_existing(path)
        os.replace(temporary, path)
        if durable:
            _sync_folder(folder or ".")
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        _unfinished.discard(temporary)


def _create(temporary: str, mode: int, path: str) -> int:
    try:
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        error.filename = path  # the name that means something to people
        raise


def refuse_existing(path: str) -> None:
    """Raise LmcError if there is something under the name `path` that could be lost."""
    if os.path.isfile(path) or os.path.islink(path):
        raise LmcError(f"{printable(path)} exists already", hint="-f replaces it")


def _copy_attributes(source: os.stat_result, descriptor: int) -> None:
    """Owner, mode and times of a source, never giving anybody more access than it did."""
    mode = stat.S_IMODE(source.st_mode) & 0o777
    mine = os.fstat(descriptor)
    if mine.st_gid != source.st_gid:
        try:
            os.fchown(descriptor, -1, source.st_gid)
        except OSError:  # another group then: it gets what everybody gets
            mode = mode & 0o707 | (mode & 0o007) << 3 & mode & 0o070
    if mine.st_uid != source.st_uid:
        with suppress(OSError):
            os.fchown(descriptor, source.st_uid, -1)
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(source.st_atime_ns, source.st_mtime_ns))


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Signals --------------------------------------------------------------------------------


def remove_on_signal() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP end the process with nothing left behind.

    A thread of its own waits for them, because the main thread may be in native code for
    minutes, where Python's handlers do not run. The process then dies of the signal itself, so
    that whoever started it sees what happened. Call it once, before other threads start.
    """
    caught = {
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup stays in force
    }
    if not caught:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, caught)
    if signal.SIGINT in caught:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def wait() -> None:
        number = signal.sigwait(caught)
        for temporary in list(_unfinished):
            with suppress(OSError):
                os.unlink(temporary)
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\n")  # below a progress line
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})

    threading.Thread(target=wait, name="signals", daemon=True).start()


# Streams --------------------------------------------------------------------------------


class Replay:
    """A source that remembers its first bytes, so that foreign data can be passed on."""

    LIMIT = 1 << 20  # more than a reader looks at before it knows that data is foreign

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._seen = bytearray()
        self._complete = True

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self._complete = self._complete and len(self._seen) + len(data) <= self.LIMIT
        if self._complete:
            self._seen += data
        return data

    def pass_through(self, sink: BinaryIO) -> int:
        """Write all of the source to `sink`, from its beginning; returns the bytes written."""
        if not self._complete:
            raise LmcError("more was read than can be passed on")
        sink.write(self._seen)
        count = len(self._seen)
        while data := self._file.read(1 << 16):
            sink.write(data)
            count += len(data)
        return count


# Progress -------------------------------------------------------------------------------


class Progress:
    """One line on a terminal that says how far the work is; nothing anywhere else.

    The first line comes after half a second, so that small files leave no flicker.
    """

    def __init__(self, stream: TextIO, name: str, total: int | None, *, shown: bool) -> None:
        self.stream = stream
        self.name = printable(name)
        self.total = total
        self.shown = shown and stream.isatty()
        self.began = time.monotonic()
        self.next = self.began + 0.5
        self.drawn = False

    def update(self, done: int, total: int | None = None) -> None:
        """Say that `done` bytes of the source are done; `total` is known from the beginning."""
        now = time.monotonic()
        if not self.shown or now < self.next:
            return
        self.next = now + 0.1
        self.drawn = True
        self.stream.write(f"\r\033[K{self.line(done, now - self.began)}")
        self.stream.flush()

    def line(self, done: int, seconds: float) -> str:
        """The text for `done` bytes after `seconds`.

        >>> import sys
        >>> Progress(sys.stderr, "a.txt", 4_000_000, shown=False).line(1_000_000, 10.0)
        'a.txt   25 %  1.0 MB  100.0 KB/s  0:30 left'
        """
        rate = done / seconds if seconds > 0 else 0.0
        parts = [self.name]
        if self.total:
            parts.append(f"{min(100, 100 * done // self.total):3d} %")
        parts += [size(done), f"{size(rate)}/s"]
        if self.total and rate:
            left = round(max(0, self.total - done) / rate)
            minutes, rest = divmod(left, 60)
            hours, minutes = divmod(minutes, 60)
            clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
            parts.append(f"{clock} left")
        return "  ".join(parts)

    def clear(self) -> None:
        """Wipe the line, so that a message can take its place."""
        if self.drawn:
            self.stream.write("\r\033[K")
            self.stream.flush()
            self.drawn = False


def size(count: float) -> str:
    """A number of bytes for people, in decimal units.

    >>> size(999), size(152_089), size(3.5e9)
    ('999 B', '152.1 KB', '3.5 GB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    units = iter(("KB", "MB", "GB", "TB"))
    while count >= 999.95:
        count /= 1000
        unit = next(units)
    return f"{count:.1f} {unit}"
