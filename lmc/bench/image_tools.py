"""Lossless coders of pixels. Each gets the same ones, as an array or as a PNG without metadata."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.bench.content import Content, read_pixels
from lmc.bench.way import NotTaken, Way, by_program, of_package, of_program

PACKAGE = "imagecodecs"


def _pixels(data: bytes) -> NDArray[Any]:
    found = read_pixels(data)
    if found is None:
        raise ValueError("the result is not the picture that it should be")
    return found


def _array(content: Content) -> NDArray[Any]:
    """As the package wants it: grey without an axis for the channel."""
    assert content.samples is not None
    samples = content.samples
    return samples[..., 0] if samples.shape[2] == 1 else samples


def _with_channels(samples: NDArray[Any]) -> NDArray[Any]:
    return samples.reshape(*samples.shape[:2], -1)


def _version(name: str) -> Any:
    def version() -> str:
        return str(getattr(import_module(PACKAGE), f"{name}_version")())

    return version


def _of_package(name: str, command: str, pack: dict[str, Any], unpack: dict[str, Any]) -> Way:
    def there(content: Content) -> bytes:
        encode = getattr(import_module(PACKAGE), f"{name}_encode")
        return bytes(encode(_array(content), **pack))

    def back(coded: bytes) -> NDArray[Any]:
        decode = getattr(import_module(PACKAGE), f"{name}_decode")
        return _with_channels(np.asarray(decode(coded, **unpack)))

    return Way(command, _version(name), there, back, (PACKAGE,), get=f"pip: {PACKAGE}")


def jpegxl(effort: int) -> Way:
    """On one thread."""
    options = {"effort": effort, "lossless": True, "usecontainer": False, "numthreads": 1}
    command = f"imagecodecs.jpegxl_encode(pixels, effort={effort}, lossless=True, numthreads=1)"
    return _of_package("jpegxl", command, options, {"numthreads": 1})


def webp() -> Way:
    """WebP has RGB and RGBA of 8 bits, so grey goes in three times."""

    def pack(content: Content) -> bytes:
        samples = _eight_bits(content)
        if samples.shape[2] < 3:
            samples = np.concatenate([samples[..., :1].repeat(3, 2), samples[..., 1:]], 2)
        encode = import_module(PACKAGE).webp_encode
        return bytes(encode(samples, 100, lossless=True, method=6, numthreads=1))

    def unpack(coded: bytes) -> NDArray[Any]:
        return _with_channels(np.asarray(import_module(PACKAGE).webp_decode(coded)))

    command = "imagecodecs.webp_encode(pixels, 100, lossless=True, method=6, numthreads=1)"
    return Way(command, _version("webp"), pack, unpack, (PACKAGE,), get=f"pip: {PACKAGE}")


def _eight_bits(content: Content) -> NDArray[Any]:
    assert content.samples is not None
    if content.samples.itemsize > 1:
        raise NotTaken("pixels of 16 bits")
    return content.samples


def jpegls() -> Way:
    """A plane for each channel, one after the other: the standard has no transform of colours, and
    its interleaving gains nothing. Two bytes of channels and four for each plane's size."""

    def pack(content: Content) -> bytes:
        assert content.samples is not None
        encode = import_module(PACKAGE).jpegls_encode
        planes = [
            bytes(encode(np.ascontiguousarray(content.samples[..., channel])))
            for channel in range(content.samples.shape[2])
        ]
        sizes = b"".join(len(plane).to_bytes(4, "little") for plane in planes)
        return len(planes).to_bytes(2, "little") + sizes + b"".join(planes)

    def unpack(coded: bytes) -> NDArray[Any]:
        decode = import_module(PACKAGE).jpegls_decode
        count = int.from_bytes(coded[:2], "little")
        at, planes = 2 + 4 * count, []
        for number in range(count):
            size = int.from_bytes(coded[2 + 4 * number : 6 + 4 * number], "little")
            planes.append(decode(coded[at : at + size]))
            at += size
        return np.stack(planes, axis=2)

    command = "imagecodecs.jpegls_encode(plane), for each channel"
    return Way(command, _version("jpegls"), pack, unpack, (PACKAGE,), get=f"pip: {PACKAGE}")


def oxipng(level: int) -> Way:
    def pack(content: Content) -> bytes:
        module = import_module("oxipng")
        strip = module.StripChunks.all()
        return bytes(module.optimize_from_memory(content.data_as_png(), level=level, strip=strip))

    command = f"oxipng.optimize_from_memory(png, level={level}, strip=all)"
    version = of_package("pyoxipng")
    return Way(command, version, pack, _pixels, ("oxipng",), get="pip: pyoxipng")


def _program(
    command: str,
    suffix: str,
    back: str,
    version: tuple[str, ...],
    get: str,
    *also: str,
    deep: bool = True,
) -> Way:
    """A program that reads PNG; back: a command to PNG, or none where it writes one. deep: takes
    16 bits."""

    def pack(content: Content) -> bytes:
        if not deep:
            _eight_bits(content)
        return by_program(command, content.data_as_png(), (".png", suffix))

    def unpack(coded: bytes) -> NDArray[Any]:
        return _pixels(by_program(back, coded, (suffix, ".png")) if back else coded)

    programs = (command.split()[0], *also)
    return Way(command, of_program(*version), pack, unpack, programs=programs, get=get)


def optipng() -> Way:
    version = ("optipng", "--version")
    return _program("optipng -o2 -strip all IN -out OUT", ".png", "", version, "apt: optipng")


def cwebp() -> Way:
    command = "cwebp -lossless -m 6 -q 100 -exact IN -o OUT"
    version = ("cwebp", "-version")
    return _program(command, ".webp", "dwebp IN -o OUT", version, "apt: webp", "dwebp", deep=False)


def cjxl(effort: int) -> Way:
    command = f"cjxl -d 0 -e {effort} --num_threads=0 IN OUT"
    version = ("cjxl", "--version")
    return _program(command, ".jxl", "djxl IN OUT", version, "apt: libjxl-tools", "djxl")


def flif() -> Way:
    version = ("flif", "--version")
    return _program("flif -e IN OUT", ".flif", "flif -d IN OUT", version, "program: flif")
