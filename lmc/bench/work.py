"""Measures tools on one file, each in processes of its own: `python -m lmc.bench.work JOB`.

The job is JSON, and so is each line of standard output, a result in the order of the job's tools.
This process reads the file and forks: a child that codes, then another that decodes and compares.
So what a tool does to memory, or to the process, is its own; time to start an interpreter, to
import and to load a model is not measured, for the child begins with a little piece of the content.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmc.bench import content as contents
from lmc.bench.content import Content
from lmc.bench.tools import Tool, named
from lmc.bench.way import NotTaken, Way

Facts = dict[str, Any]

WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Job:
    """path: of the file. name: by which its kind is told. tools: titles. limit: bytes of it that
    are taken, or None. runs: of which the median is taken; enough: seconds of them after which
    none is added. patience: seconds that coding, or decoding, may take."""

    path: str
    name: str
    tools: tuple[str, ...]
    protocol: str = WHOLE
    limit: int | None = None
    threads: int = 0
    runs: int = 3
    enough: float = 0.7
    patience: float = 3600.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        facts = json.loads(text)
        return Job(**{**facts, "tools": tuple(facts["tools"])})


def read(path: str, limit: int | None) -> bytes:
    """The file's bytes, or the first of them."""
    with open(path, "rb") as file:
        return file.read() if limit is None else file.read(limit)


def main(text: str) -> None:
    """Do a job, a line of JSON for each tool."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a child is ended, too
    job = Job.from_json(text)
    content = contents.load(read(job.path, job.limit), job.name)
    parts = [content] if job.protocol == WHOLE else content.chunks()
    facts = {
        "modality": content.modality,
        "file_bytes": len(content.data),
        "content_bytes": content.raw_bytes,
        "unit": content.unit,
        "units": content.units,
    }
    for title in job.tools:
        tool = named(title, job.threads)
        if job.protocol == WHOLE and content.modality not in tool.modalities:
            measured: Facts = {"not_taken": "a file that could not be read as what it seems to be"}
        else:
            measured = measure(tool, parts, job)
        print(json.dumps(facts | measured), flush=True)


def measure(tool: Tool, parts: list[Content], job: Job) -> Facts:
    """Sizes, times and memory of one tool; `failed` or `not_taken` where there are none."""
    way = tool.way()
    assert way is not None
    with tempfile.TemporaryDirectory(prefix="lmc-bench-") as folder:
        coded = Path(folder) / "coded"
        there = _in_child(lambda: _pack(way, parts, coded, job), folder, job.patience)
        if "bytes" not in there:
            return there
        back = _in_child(lambda: _unpack(tool, way, parts, coded, job), folder, job.patience)
        if "restored" not in back:
            return back
        return {
            "restores": tool.restores(parts[0].modality) if job.protocol == WHOLE else "chunks",
            "bytes": there["bytes"],
            **{f"encode_{name}": there[name] for name in ("s", "cpu_s", "runs", "memory")},
            **{f"decode_{name}": back[name] for name in ("s", "cpu_s", "runs", "memory")},
            **back["about"],
            "restored": True,
        }


# ---- in the children -----------------------------------------------------------------------------


def _pack(way: Way, parts: list[Content], coded: Path, job: Job) -> Facts:
    little = parts[0].beginning()
    warm = [] if little is None else [way.pack(little)]
    pieces, facts = _timed(lambda: [way.pack(part) for part in parts], job)
    sizes = [len(piece) for piece in warm + pieces]
    coded.write_bytes(json.dumps(sizes).encode() + b"\n" + b"".join(warm + pieces))
    return {"bytes": sum(map(len, pieces)), **facts}


def _unpack(tool: Tool, way: Way, parts: list[Content], coded: Path, job: Job) -> Facts:
    head, _, rest = coded.read_bytes().partition(b"\n")
    pieces, at = [], 0
    for size in json.loads(head):
        pieces.append(rest[at : at + size])
        at += size
    if len(pieces) > len(parts):
        way.unpack(pieces.pop(0))
    restored, facts = _timed(lambda: [way.unpack(piece) for piece in pieces], job)
    for part, again in zip(parts, restored, strict=True):
        if not _same(tool, part, again):
            return {"failed": f"the {tool.restores(part.modality)} is not restored"}
    about: Facts = {}
    if tool.name == "lmc":
        from lmc.bench.lmc_tool import about as about_lmc

        about = about_lmc(pieces[0])
    return {"restored": True, "about": about, **facts}


def _same(tool: Tool, part: Content, again: Any) -> bool:
    import numpy as np

    if tool.restores(part.modality) == "file":
        return bool(again == part.data)
    assert part.samples is not None
    if part.modality == "image":
        return contents.same_pixels(part.samples, again)
    return np.array_equal(part.samples, again)


def _timed(call: Callable[[], Any], job: Job) -> tuple[Any, Facts]:
    """What the call returns, and the medians over several runs."""
    seconds: list[float] = []
    processor: list[float] = []
    while not seconds or (len(seconds) < job.runs and sum(seconds) < job.enough):
        began, used = time.perf_counter(), _processor()
        result = call()
        seconds.append(time.perf_counter() - began)
        processor.append(_processor() - used)
    return result, {
        "s": round(statistics.median(seconds), 6),
        "cpu_s": round(statistics.median(processor), 6),
        "runs": len(seconds),
    }


def _processor() -> float:
    """Seconds of processors that this process and its programs have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _resident(name: str) -> int:
    """Bytes of memory of this process: VmRSS now, VmHWM at most; 0 where nothing says."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    found = next((line for line in lines if line.startswith(name + ":")), "")
    return int(found.split()[1]) << 10 if found else 0


def _peak() -> int:
    """Peak memory of this process, or of a program that it ran, whichever is more."""
    unit = 1 if sys.platform == "darwin" else 1024
    programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    own = _resident("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(own, programs)


# ---- around them ---------------------------------------------------------------------------------


def _in_child(call: Callable[[], Facts], folder: str, patience: float) -> Facts:
    """What the call returns in a process of its own, with the peak memory that it added there."""
    told = Path(folder) / "told"
    said = Path(folder) / "said"
    told.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _child(call, told, said)
    deadline = time.monotonic() + patience
    pause = 0.001
    try:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                return {"failed": f"took more than {patience:.0f} seconds"}
            time.sleep(pause)
            pause = min(0.05, pause * 1.5)
    finally:
        # It leads a group of its own, with whatever it has started.
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    if told.exists():
        facts: Facts = json.loads(told.read_text())
        return facts
    code = os.waitstatus_to_exitcode(status)
    last = said.read_text(errors="replace").strip().splitlines()[-1:] if said.exists() else []
    why = f"signal {-code}" if code < 0 else f"exit code {code}"
    return {"failed": ": ".join([why, *last])}


def _child(call: Callable[[], Facts], told: Path, said: Path) -> None:
    """Ends the process. What libraries write to the terminal goes to a file."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["RAYON_NUM_THREADS"] = "1"  # of tools in Rust; the others are told otherwise
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        before = _resident("VmRSS")
        try:
            facts = call()
            if "failed" not in facts:
                facts["memory"] = max(0, _peak() - before)
        except NotTaken as error:
            facts = {"not_taken": str(error)}
        except Exception as error:
            traceback.print_exc()
            facts = {"failed": f"{type(error).__name__}: {error}"[:300]}
        new = told.with_suffix(".new")
        new.write_text(json.dumps(facts))
        new.replace(told)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
