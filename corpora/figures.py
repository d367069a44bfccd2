"""The figures that lmc is judged by, each by one command, each result decoded and compared.

    python corpora/figures.py lanes FILE BYTES W N…   sizes with N lanes and a window of W tokens
    python corpora/figures.py exact FILE BYTES MODEL  one file by every variant and thread count
    python corpora/figures.py pictures FOLDER…        image files taken apart and rebuilt: recipes
    python corpora/figures.py start FILE              seconds of the tool for 1 KB
    python corpora/figures.py audio [--level L] FOLDER…   WAV and FLAC files beside flac, wavpack
                                                      (--protocol lmcompress: 8-bit chunks;
                                                      --restore: files that flac writes)
    python corpora/figures.py video [--level L] [WxH:FMT] FILE…  Y4M files, or frames without a
    python corpora/figures.py llama GGUF FILE BYTES   tokens a second and core beside llama.cpp's
                                                      (pip install llama-cpp-python)

Every line of output is one JSON object. Sizes, speeds and memory among other compressors are a
matter of `lmc bench`.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sounds
import videos

import lmc
from lmc.bench.machine import machine
from lmc.codecs import text


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


HERE = {**machine(), "lmc": lmc.__version__}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def run(arguments: list[str], environment: dict[str, str] | None = None) -> tuple[float, int]:
    """Seconds and peak bytes of a process of lmc."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lmc", *arguments], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"lmc {' '.join(arguments)} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def lanes(path: str, count: int, window: int, numbers: list[int]) -> None:
    model = text.model_of(lmc.Settings(level=9))
    data = Path(path).read_bytes()[:count]
    for number in numbers:
        layout = text.Layout(number, window, text.ANCHOR)
        frame = text.encode_network(data, model, layout, 0)
        tell(
            file=Path(path).name,
            sha256=digest(data),
            bytes=len(data),
            lanes=number,
            window=window,
            payload=len(frame.payload),
            bits_per_byte=round(8 * len(frame.payload) / len(data), 4),
        )


def llama(gguf: str, path: str, count: int) -> None:
    """Both on one thread and in turns, so that whatever slows the machine slows both."""
    import llama_cpp

    model = text.model_of(lmc.Settings(level=9))
    data = Path(path).read_bytes()[:count]
    layout = text.Layout(64, 512, text.ANCHOR)
    other = llama_cpp.Llama(gguf, n_ctx=512, n_threads=1, verbose=False)
    prompt = other.tokenize(data[:64])
    tokens = len(model.tokenizer.encode(data))
    text.encode_network(data[:4096], model, layout, 1)  # the weights are packed now
    for _ in range(3):
        other.reset()
        other.eval(prompt)
        generated = 100
        began = time.perf_counter()
        for _ in range(generated):
            other.eval([other.sample(temp=0.0)])
        theirs = generated / (time.perf_counter() - began)
        began = time.perf_counter()
        frame = text.encode_network(data, model, layout, 1)
        middle = time.perf_counter()
        back = text.decode_frame(
            frame.method, frame.params, frame.payload, len(data), model, threads=1
        )
        end = time.perf_counter()
        tell(
            **HERE,
            file=Path(path).name,
            bytes=len(data),
            tokens=tokens,
            llama_tokens_s=round(theirs, 1),
            encode_tokens_s=round(tokens / (middle - began), 1),
            decode_tokens_s=round(tokens / (end - middle), 1),
            encode_ratio=round(tokens / (middle - began) / theirs, 2),
            decode_ratio=round(tokens / (end - middle) / theirs, 2),
            restored=back == data,
        )


def exact(path: str, count: int, name: str) -> None:
    """Codes with one variant and layout of work, decodes with another; all bytes must agree."""
    from lmc.kernels._native import kernel_names
    from lmc.models import registry

    data = Path(path).read_bytes()[:count]
    tokens = len(registry.open_model(name).tokenizer.encode(data))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a"
        source.write_bytes(data)
        files = {}
        for variant in kernel_names():
            for threads in ("1", "2"):
                small = source.with_suffix(f".{variant}{threads}")
                environment = {**os.environ, "LMC_KERNELS": variant}
                options = ["-7", "-m", name, "-qT", threads, str(source), "-o", str(small)]
                run(["compress", *options], environment)
                files[variant, threads] = small.read_bytes()
                run(["test", "-q", str(small)], {**os.environ, "LMC_KERNELS": kernel_names()[-1]})
                tell(
                    file=Path(path).name,
                    bytes=len(data),
                    model=name,
                    variant=variant,
                    threads=int(threads),
                    tokens=tokens,
                    decoded_by=kernel_names()[-1],
                    sha256=digest(files[variant, threads]),
                )
        tell(
            equal=len(set(files.values())) == 1,
            tokens_coded=tokens * len(files),
            tokens_decoded=tokens * len(files),
        )


def pictures(folders: list[str]) -> None:
    """Every file that begins like an image: its recipe in bytes, plain and coded by byte models."""
    from lmc.codecs import pictures
    from lmc.kernels import _native

    restored, total, coded = [], 0, 0
    for path in sorted(p for folder in folders for p in Path(folder).rglob("*") if p.is_file()):
        data = path.read_bytes()
        geometry = pictures.geometry(data[:4096])
        if geometry is None:
            continue
        began = time.perf_counter()
        picture = pictures.take_apart(data, 1 << 26)
        middle = time.perf_counter()
        facts: dict[str, Any] = {"apart_s": round(middle - began, 2)}
        if picture is not None:
            again = pictures.rebuild(picture.format, picture.recipe, picture.samples)
            facts["rebuild_s"] = round(time.perf_counter() - middle, 2)
            facts["recipe"] = len(picture.recipe)
            facts["coded"] = len(_native.encode_bytes(2, picture.recipe))
            assert again == data
            coded += facts["coded"]
            total += len(data)
        restored.append(picture is not None)
        tell(
            file=path.name,
            bytes=len(data),
            width=geometry.width,
            height=geometry.height,
            restored=restored[-1],
            **facts,
        )
    tell(files=len(restored), restored=sum(restored), bytes=total, coded=coded)


def start(path: str) -> None:
    for level, count in ((2, 1024), (9, 1024)):
        data = Path(path).read_bytes()[:count]
        with tempfile.TemporaryDirectory() as folder:
            source, small, back = (Path(folder) / name for name in ("a", "a.lmc", "b"))
            source.write_bytes(data)
            pack = ["compress", f"-{level}", "-qf", str(source), "-o", str(small)]
            unpack = ["decompress", "-qf", str(small), "-o", str(back)]
            there = [run(pack)[0] for _ in range(5)]
            here = [run(unpack)[0] for _ in range(5)]
            tell(
                **HERE,
                bytes=count,
                level=level,
                compress_s=round(statistics.median(there), 3),
                decompress_s=round(statistics.median(here), 3),
                lmc_bytes=small.stat().st_size,
            )
    helps = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "lmc", "--help"], stdout=subprocess.DEVNULL, check=True
        )
        helps.append(time.perf_counter() - began)
    tell(help_s=round(statistics.median(helps), 3))


def main(arguments: list[str]) -> None:
    match arguments:
        case ["lanes", path, count, window, *numbers]:
            lanes(path, int(count), int(window), [int(n) for n in numbers])
        case ["exact", path, count, name]:
            exact(path, int(count), name)
        case ["pictures", *folders]:
            pictures(folders)
        case ["start", path]:
            start(path)
        case ["audio", *options]:
            sounds.main(options)
        case ["video", *options]:
            videos.main(options)
        case ["llama", gguf, path, count]:
            llama(gguf, path, int(count))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
