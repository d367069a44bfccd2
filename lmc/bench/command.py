"""`lmc bench`, once its options are known."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lmc import files
from lmc.bench import corpora, tools
from lmc.bench.inputs import find
from lmc.bench.listing import as_csv, as_json
from lmc.bench.run import Outcome, Plan, run
from lmc.bench.store import Store
from lmc.bench.summary import Summary, summarise
from lmc.bench.tables import plain
from lmc.bench.work import WHOLE
from lmc.cli import BenchOptions
from lmc.codecs.base import DEFAULT_LEVEL, LEVELS
from lmc.errors import LmcError, Usage
from lmc.models import registry

DEFAULT_LEVELS = (DEFAULT_LEVEL,)


class Progress:
    """How far the run is, one line on a terminal: the share of the bytes, and what is going on."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._began = time.monotonic()

    def update(self, done: int, total: int, what: str) -> None:
        if not self._shown:
            return
        spent = time.monotonic() - self._began
        left = f", about {_clock(spent / done * (total - done))} left" if done else ""
        text = f"{100 * done // max(1, total):3d} %  {_clock(spent)}{left}  {what}"
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        self.clear()
        print(f"lmc: {text}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def bench(options: BenchOptions) -> int:
    """Measure, and write what was asked for; the exit code: 1 if a tool or a file failed. Raises
    LmcError."""
    if options.corpora == ("list",):
        print(corpora.listing(options.json))
        return 0
    levels = _levels(options.levels)
    names = _names(options.tools)
    folder = os.path.dirname(options.html or "") or "."
    if not os.path.isdir(folder):  # found out now, not after hours
        raise Usage(f"there is no folder {folder!r} for the report")
    paths = [*options.paths]
    for name in options.corpora:
        paths += corpora.locate(name, options.data, _quiet if options.quiet else _say)
    if not paths:
        raise Usage("nothing to measure", hint="name files or folders, or a corpus: --corpus list")
    bad: list[str] = []
    progress = Progress(not options.quiet)
    say: Callable[[str], None] = _quiet if options.quiet else progress.say

    def failed(path: str, error: OSError | str) -> None:
        reason = error if isinstance(error, str) else (error.strerror or str(error))
        bad.append(path)
        if options.quiet < 2:
            progress.say(f"{files.printable(path)}: {reason[:1].lower()}{reason[1:]}")

    inputs = list(find(paths, options.limit, failed))
    if not inputs:
        raise LmcError("there is nothing to measure")
    path = Path(options.results) if options.results else registry.home() / "bench.jsonl"
    store = Store(path)
    plan = Plan(
        inputs,
        tools.select(names, levels, options.threads),
        (WHOLE, *([options.protocol] if options.protocol else [])),
        options.limit,
        options.threads,
        options.runs,
        options.patience,
        options.fresh,
        options.jobs,
    )
    outcome = _run(plan, store, say, progress)
    summary = summarise(outcome.records, outcome.missing, outcome.failed)
    if outcome.reused:
        say(f"{outcome.reused} results were known from {path} (--fresh measures them again)")
    if options.html:
        from lmc.bench.page import page

        with files.target(options.html, like=None, replace=True, durable=False) as target:
            target.write(page(summary).encode())
    _print(summary, options)
    return 1 if outcome.failed or bad else 0


def _run(plan: Plan, store: Store, say: Callable[[str], None], progress: Progress) -> Outcome:
    """Interrupted, say where the results are, and go on being interrupted."""
    try:
        return run(plan, store, say, progress.update)
    except BaseException:
        progress.clear()
        say(f"what was measured is kept in {store.path}: the same command goes on from there")
        raise
    finally:
        progress.clear()


def _print(summary: Summary, options: BenchOptions) -> None:
    if options.json:
        print(as_json(summary))
    elif options.csv:
        print(as_csv(summary), end="")
    elif not options.html or options.quiet == 0:
        print(plain(summary))


def _levels(text: str) -> list[int]:
    if not text:
        return list(DEFAULT_LEVELS)
    try:
        levels = [int(part) for part in text.split(",")]
    except ValueError:
        raise Usage(f"{text!r} are no levels", hint="write --levels 2,6") from None
    for level in levels:
        if level not in LEVELS:
            raise Usage(f"there is no level {level}", hint="levels go from 0 to 9")
    return list(dict.fromkeys(levels))


def _names(text: str) -> list[str]:
    names = text.split(",") if text else []
    for name in names:
        if name not in tools.NAMES:
            raise Usage(f"{name!r} is no tool", hint="tools: " + ", ".join(tools.NAMES))
    return names


def _say(text: str) -> None:
    print(f"lmc: {text}", file=sys.stderr)


def _quiet(_: str) -> None:
    pass
