"""The run: every tool on every file, in an order in which tools stand side by side in time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock

from lmc.bench.content import MEDIA
from lmc.bench.inputs import Input
from lmc.bench.machine import machine
from lmc.bench.store import Record, Store
from lmc.bench.tools import Tool
from lmc.bench.work import WHOLE, Job

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run. protocols: "whole", and whatever else was asked for. jobs: how many files the
    tools of one thread are measured on at a time."""

    inputs: list[Input]
    tools: list[Tool]
    protocols: tuple[str, ...] = (WHOLE,)
    limit: int | None = None
    threads: int = 0
    runs: int | None = None
    patience: float = 3600.0
    fresh: bool = False
    jobs: int = 1


@dataclass(slots=True)
class Outcome:
    """records: in the order of files and tools. missing: of tools that are not installed, what
    would bring them. failed: messages."""

    records: list[Record] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    reused: int = 0


def run(plan: Plan, store: Store, say: Say, progress: Callable[[int, int, str], None]) -> Outcome:
    """Measure what the store does not know yet. Whatever ends this keeps what has been added.

    progress: called with the work that is done and that there is, in bytes, and what is going on.
    """
    outcome = Outcome()
    here = machine()
    present: list[tuple[Tool, Record]] = []
    used = {one.modality for one in plan.inputs}
    for tool in plan.tools:
        way = tool.way()
        if way is not None:
            facts = {"version": way.version(), "command": way.command, "threads": way.threads}
            present.append((tool, facts))
        elif used & set(tool.modalities):
            outcome.missing[tool.title] = " or ".join(one.get for one in tool.ways)
    for title, get in outcome.missing.items():
        say(f"{title} is not installed ({get}): left out")
    # Side by side are only tools of one thread; then the others have the machine to themselves.
    beside = [one for one in present if one[1]["threads"] == 1]
    rounds = [(present, 1)]
    if plan.jobs > 1:
        rounds = [(beside, plan.jobs), ([one for one in present if one not in beside], 1)]
    # Small files first: an interrupt leaves results of most.
    files = sorted(plan.inputs, key=lambda one: one.size)
    total = len(rounds) * sum(one.size for one in files) * len(plan.protocols)
    done = 0
    lock = Lock()

    def tell(what: str) -> None:
        progress(done, total, what)

    def measure(one: Input, tools: list[tuple[Tool, Record]]) -> None:
        nonlocal done
        for protocol in plan.protocols:
            chosen = [(t, f) for t, f in tools if wanted(t, one.modality, protocol)]
            turn = _Turn(plan, one, protocol, store, say, tell)
            turn.take(chosen, here, outcome, lock)
            with lock:
                done += one.size

    for tools, jobs in rounds:
        _each(partial(measure, tools=tools), files, jobs)
    places = {(one.name, one.sha256): place for place, one in enumerate(plan.inputs)}
    outcome.records.sort(key=lambda record: places[record["name"], record["sha256"]])
    return outcome


def _each(work: Callable[[Input], None], files: list[Input], jobs: int) -> None:
    """Work on so many files at a time. What ends it ends all: at the next result of each."""
    if jobs == 1:
        for one in files:
            work(one)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, one) for one in files]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise


_workers: set[subprocess.Popen[str]] = set()


def stop() -> None:
    """End the workers that are at work."""
    for worker in list(_workers):
        worker.terminate()


def wanted(tool: Tool, modality: str, protocol: str) -> bool:
    """Whether a tool is measured on files of a kind: chunks of sound and video are bytes."""
    if protocol == WHOLE or modality in ("image", "text", "bytes"):
        return modality in tool.modalities
    return modality != "jpeg" and "bytes" in tool.modalities


@dataclass(frozen=True, slots=True)
class _Turn:
    """One file by one protocol."""

    plan: Plan
    one: Input
    protocol: str
    store: Store
    say: Say
    progress: Callable[[str], None]

    def take(
        self, chosen: list[tuple[Tool, Record]], here: Record, outcome: Outcome, lock: Lock
    ) -> None:
        """All tools: what is known from the store, the rest from a worker. The lock is held while
        results are written down."""
        records: dict[str, Record] = {}
        todo = []
        for tool, facts in chosen:
            record = {
                "sha256": self.one.sha256,
                "name": self.one.name,
                "tool": tool.title,
                "protocol": self.protocol,
                "runs": self.plan.runs,
                **facts,
                **here,
            }
            known = None if self.plan.fresh else self.store.get(record)
            if known is None:
                todo.append(tool.title)
            else:
                outcome.reused += 1
            records[tool.title] = known or record
        for title, facts in self.measured(todo):
            record = records[title]
            record.update(facts, date=datetime.now(UTC).isoformat(timespec="seconds"))
            with lock:
                self.store.add(record)
                if "failed" in record:
                    outcome.failed.append(f"{self.one.name}: {title} failed: {record['failed']}")
                    self.say(outcome.failed[-1])
        with lock:
            outcome.records += records.values()

    def measured(self, todo: list[str]) -> Iterator[tuple[str, Record]]:
        """What `lmc.bench.work` tells of each tool. Where it ends early, the rest has failed."""
        if not todo:
            return
        plan = self.plan
        job = Job(
            self.one.path,
            self.one.name,
            tuple(todo),
            self.protocol,
            None if self.one.modality in MEDIA else plan.limit,
            plan.threads,
            patience=plan.patience,
        )
        if plan.runs is not None:
            job = replace(job, runs=plan.runs, enough=float("inf"))
        command = [sys.executable, "-m", "lmc.bench.work", job.to_json()]
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stderr is not None
        _workers.add(worker)
        try:
            for place, title in enumerate(todo):
                self.progress(f"{self.one.name}: {title}")
                line = worker.stdout.readline()
                if not line:
                    last = worker.stderr.read().strip().splitlines()[-1:]
                    why = ": ".join([f"exit code {worker.wait()}", *last])
                    yield from ((rest, {"failed": why}) for rest in todo[place:])
                    return
                yield title, json.loads(line)
        finally:
            _workers.discard(worker)
            worker.terminate()
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            worker.stdout.close()
            worker.stderr.close()
