"""`lmc bench speculate`: one lane decoded with guesses and without, in turns.

What docs/speculation.md tells of speed is measured here: for each file and each source of guesses
the tokens that a pass finds, how often guesses were right by their distance, what guesses and
network cost, and the gain in time against plain decoding. Whatever guesses, the bytes must be the
same.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmc
from lmc import files
from lmc.bench.machine import machine
from lmc.cli import SpeculationOptions
from lmc.codecs import text
from lmc.codecs.base import Settings
from lmc.errors import LmcError, Usage
from lmc.kernels import gpu

if TYPE_CHECKING:
    from lmc.kernels._native import Draft
    from lmc.models.modelfile import Model

WINDOW = 768
NEVER = "none"
"""In place of a draft's file: the text's own history alone guesses."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one file and one source of guesses.

    per_pass: tokens that a pass of the network found; rows: that it looked at. accepted: of the
    passes that looked so far ahead (1, 2, … tokens), the share that did so rightly. guess_ms,
    pass_ms: of one pass, milliseconds. plain, guessing: bytes a second; gain: their ratio.
    """

    file: str
    sha256: str
    bytes: int
    tokens: int
    model: str
    draft: str
    draft_bytes: int
    per_pass: float
    rows: float
    accepted: list[float]
    guess_ms: float
    pass_ms: float
    plain: float
    guessing: float
    gain: float


def speculation(options: SpeculationOptions) -> int:
    """Measure, and print; 0. Raises LmcError."""
    if not options.paths:
        raise Usage("nothing to measure", hint="name files of text")
    gpu.use(options.device)
    model = text.model_of(Settings(level=7, model=options.model))
    names = options.drafts or (("", NEVER) if model.draft() else (NEVER,))
    drafts = [(name, _draft(name, model)) for name in names]
    here = {
        **machine(),
        "lmc": lmc.__version__,
        "device": [gpu.names()[number] for number in gpu.chosen()] or "cpu",
        "threads": options.threads,
        "runs": options.runs,
    }
    if not options.json:
        print(_HEADING)
    for path in options.paths:
        try:
            with open(path, "rb") as file:
                data = file.read(options.limit)
        except OSError as error:
            raise LmcError(f"{files.printable(path)}: {error.strerror}") from error
        if data:
            for figures in _measure(Path(path).name, data, model, drafts, options):
                print(_as_json(here, figures) if options.json else _line(figures), flush=True)
    return 0


def _draft(name: str, model: Model) -> tuple[Draft | None, int]:
    """A source of guesses and the bytes of its file; "" is what the model comes with. Raises
    LmcError."""
    from lmc.models import prism

    if name == NEVER:
        return None, 0
    if not name:
        found = model.draft_file()
        return model.draft(), found[0].stat().st_size if found else 0
    draft = prism.runtime(prism.read(Path(name)), model.tensors)
    return draft, Path(name).stat().st_size


def _measure(
    name: str,
    data: bytes,
    model: Model,
    drafts: list[tuple[str, tuple[Draft | None, int]]],
    options: SpeculationOptions,
) -> Iterator[Figures]:
    from lmc.kernels._native import Speculation

    layout = text.Layout(1, WINDOW, text.ANCHOR)
    frame = text.encode_network(data, model, layout, options.threads)

    def decode(by: Model) -> float:
        began = time.perf_counter()
        back = text.decode_frame(
            frame.method, frame.params, frame.payload, len(data), by, options.threads
        )
        if back != data:
            raise LmcError(f"{name}: the decoded bytes differ")
        return time.perf_counter() - began

    for draft_name, (draft, size) in drafts:
        plain, guessing = [], []
        seen = Speculation()
        for _ in range(options.runs):  # in turns, so that whatever slows the machine slows both
            seen = Speculation()
            plain.append(decode(model))
            guessing.append(decode(model.guessing(seen, draft)))
        usual = statistics.median(plain), statistics.median(guessing)
        yield Figures(
            name,
            hashlib.sha256(data).hexdigest(),
            len(data),
            seen.tokens,
            model.card.name,
            draft_name or ("its own" if draft else NEVER),
            size,
            seen.tokens / seen.passes,
            seen.rows / seen.passes,
            [a / n for a, n in zip(seen.accepted, seen.offered, strict=True) if n],
            1000 * seen.guessing / seen.passes,
            1000 * seen.network / seen.passes,
            len(data) / usual[0],
            len(data) / usual[1],
            usual[0] / usual[1],
        )


_HEADING = (
    "file                  draft            tokens/pass  rows  right at 1, 2, 3, 4     "
    "guess ms  pass ms  plain KB/s  with KB/s   gain"
)


def _line(f: Figures) -> str:
    right = " ".join(f"{share:.2f}" for share in f.accepted[:4])
    return (
        f"{f.file[:21]:21} {Path(f.draft).name[:16]:16} {f.per_pass:11.2f} {f.rows:5.1f}  "
        f"{right:24}{f.guess_ms:8.2f} {f.pass_ms:8.2f} {f.plain / 1000:11.3f} "
        f"{f.guessing / 1000:10.3f} {f.gain:6.3f}"
    )


def _as_json(here: dict[str, Any], f: Figures) -> str:
    known = {name: getattr(f, name) for name in Figures.__slots__}
    for name, value in known.items():
        if isinstance(value, float):
            known[name] = round(value, 4)
    known["accepted"] = [round(share, 4) for share in f.accepted]
    return json.dumps({**here, **known})
