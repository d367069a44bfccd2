"""A model as one safetensors file: integer tensors and a card.

The file is mapped, not read: the pages that the network packs are touched once, and all of it is
hashed, because a model that differs in one bit decodes garbage.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import asdict
from functools import cached_property
from itertools import count
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, ModelMissing, Usage
from lmc.kernels import gpu
from lmc.models.card import HEADS, PLAIN, REACH, Architecture, Card
from lmc.models.safetensors import Safetensors
from lmc.models.tokenizer import Tokenizer, TokenTable

if TYPE_CHECKING:
    from lmc.kernels._native import Draft, Engine, Speculation, Vocabulary
    from lmc.models.prism import Draft as DraftFile

Array = npt.NDArray[Any]
T = TypeVar("T")
Tensors = Mapping[str, Array]

DRAFTS = Path(__file__).parent / "data"
NETWORK_PROFILE = 5  # the mixer's plan beside a network that begins from a start (ARITHMETIC.md)

# Needed by encoders only; two models that differ in these decode the same files.
ENCODING_ONLY = ("tokenizer.json", "tokenizer.ids")
# safetensors' names of the dtypes that a model may have.
DTYPES = {"I8": "<i1", "U8": "<u1", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8"}


def revision(tensors: Tensors) -> int:
    """The least revision of the arithmetic that computes a network of these tensors."""
    of_heads = (".q_norm.gain", ".k_norm.gain", ".rotary.frequency")
    if any(name.endswith(of_heads) for name in tensors):
        return HEADS
    return REACH if "reach" in tensors or "mixer.start" in tensors else PLAIN


def identity(architecture: Architecture, tensors: Tensors) -> str:
    """SHA-256, in hex, of whatever influences decoding.

    Hashed: the line "lmc model", a line of JSON with the arithmetic revision and the architecture
    (sorted keys, no spaces), then for each tensor in the order of names a line of JSON
    [name, dtype, shape] and its little-endian bytes.
    """
    state = hashlib.sha256(b"lmc model\n")

    def line(value: Any) -> None:
        state.update(json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n")

    line({"arithmetic": revision(tensors), "architecture": asdict(architecture)})
    for name in sorted(tensors):
        if name not in ENCODING_ONLY:
            tensor = tensors[name]
            line([name, tensor.dtype.str.replace("|", "<"), list(tensor.shape)])
            state.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def expected(a: Architecture) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor that must be there; -1 is any length."""
    query, key = a.heads * a.head_dim, a.kv_heads * a.head_dim
    out: dict[str, tuple[str, tuple[int, ...]]] = {
        "tokens.bytes": ("<u1", (-1,)),
        "tokens.offsets": ("<u4", (a.vocab + 1,)),
        "tokenizer.json": ("<u1", (-1,)),
        "tokenizer.ids": ("<i4", (-1,)),
        "rotary.frequency": ("<u8", (a.head_dim // 2,)),
    }

    def matrix(name: str, rows: int, columns: int, stored: bool = True) -> None:
        if stored:
            out[name + ".weight"] = ("<i1", (rows, columns))
        out[name + ".scale"] = ("<i4", (rows,))
        out[name + ".exponent"] = ("<i4", (1,))

    def norm(name: str) -> None:
        out[name + ".source"] = ("<i4", (-1,))
        out[name + ".gain"] = ("<i4", (-1,))
        out[name + ".exponent"] = ("<i4", (1,))

    matrix("embed", a.vocab + a.extra, a.dim)
    matrix("head", a.vocab, a.dim, stored=not a.tied)
    norm("final_norm")
    for i in range(a.layers):
        at = f"layers.{i}."
        norm(at + "attn_norm")
        matrix(at + "qkv", query + 2 * key, a.dim)
        matrix(at + "out", a.dim, query)
        norm(at + "ffn_norm")
        matrix(at + "gate_up", 2 * a.hidden, a.dim)
        matrix(at + "down", a.dim, a.hidden)
    return out


def optional(a: Architecture) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors that may be there."""
    rows = (a.heads + 2 * a.kv_heads) * a.head_dim
    may: dict[str, tuple[str, tuple[int, ...]]] = {
        "head.bias": ("<i4", (a.vocab,)),
        "reach": ("<i4", (a.layers,)),
        "mixer.start": ("<u4", (-1,)),
    }
    for i in range(a.layers):
        at = f"layers.{i}."
        may[at + "qkv.bias"] = ("<i4", (rows,))
        may[at + "rotary.frequency"] = ("<u8", (a.head_dim // 2,))
        for part in ("q_norm", "k_norm"):
            may[f"{at}{part}.gain"] = ("<i4", (a.head_dim,))
            may[f"{at}{part}.exponent"] = ("<i4", (1,))
    return may


def check(a: Architecture, tensors: Tensors) -> None:
    """Raise Corrupt unless `tensors` are the tensors of a network of these sizes. (What the values
    must satisfy, such as accumulator bounds, the network proves when it is made.)"""
    must, may = expected(a), optional(a)
    for name, (dtype, shape) in {**must, **may}.items():
        if name not in tensors:
            if name in must:
                raise Corrupt(f"the model has no tensor {name}")
            continue
        tensor = tensors[name]
        fits = len(shape) == tensor.ndim and all(
            want in (-1, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        if tensor.dtype != np.dtype(dtype) or not fits:
            raise Corrupt(f"the model's tensor {name} has the wrong shape or type")
    strangers = set(tensors) - set(must) - set(may)
    if strangers:
        raise Corrupt(f"the model has a tensor that no network knows: {min(strangers)}")
    for name in may.keys() & tensors.keys():
        if name.endswith("_norm.gain") and name.replace(".gain", ".exponent") not in tensors:
            raise Corrupt(f"the model has no exponent beside {name}")
    for name in must:
        if name.endswith("norm.source"):
            source, gain = tensors[name], tensors[name.replace(".source", ".gain")]
            if source.shape != gain.shape or len(source) < a.dim:
                raise Corrupt(f"{name} and its gain differ in length")
            if source.min() < 0 or source.max() >= a.dim:
                raise Corrupt(f"{name} points outside the residual stream")


class once(cached_property[T]):
    """functools.cached_property that is made once even if threads ask at a time: since Python 3.12
    that one has no lock."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        super().__init__(make)
        self._lock = RLock()

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Self | T:
        with self._lock:
            return super().__get__(instance, owner)


class Model:
    """A model that is open: its card, its mapped tensors and what is made of them on demand.

    `whole` returns when the tensors are known to be what the card says, or raises Corrupt.
    """

    def __init__(
        self, card: Card, tensors: Tensors, whole: Callable[[], None] = lambda: None
    ) -> None:
        self.card = card
        self.tensors = tensors
        self.verify = whole
        self._lock = Lock()
        self._making: dict[int | None, Lock] = {}  # GPUs start side by side
        self._turns = count()
        # Shared, like the networks, with what `guessing` gives.
        self._drafts: list[Draft | None] = []
        self.speculation: Speculation | None = None
        self._networks: dict[tuple[int, int | None], Engine] = {}

    @once
    def table(self) -> TokenTable:
        """The byte strings of the tokens."""
        try:
            return TokenTable(self.tensors["tokens.bytes"], self.tensors["tokens.offsets"])
        except Corrupt:
            self.verify()  # damage explains it better
            raise

    @once
    def tokenizer(self) -> Tokenizer:
        """Splits text, for encoding."""
        return Tokenizer(
            self.table, self.tensors["tokenizer.json"].tobytes(), self.tensors["tokenizer.ids"]
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """The token table as the native loops walk it."""
        return self.table.vocabulary

    @once
    def start(self) -> Array | bytes:
        """What the mixer of a network frame begins from; empty if it begins knowing nothing."""
        from lmc.kernels._native import start_size

        start = self.tensors.get("mixer.start")
        if start is None:
            return b""
        if len(start) != start_size(NETWORK_PROFILE):
            raise Corrupt(f"the model {self.card.name} has a start of another mixer")
        return start

    def draft_file(self) -> tuple[Path, DraftFile] | None:
        """The draft network of this model's name, or another that comes with lmc and fits, and
        where it lies."""
        from lmc.models import prism

        a = self.card.architecture
        own = DRAFTS / (self.card.name + prism.SUFFIX)
        for path in sorted(DRAFTS.glob("*" + prism.SUFFIX), key=lambda path: path != own):
            draft = prism.read(path)
            d = draft.definition
            if (d.dim, d.vocab) == (a.dim, a.vocab) and max(d.taps) < a.layers:
                return path, draft
        return None

    def draft(self) -> Draft | None:
        """That draft network, for speculation."""
        from lmc.models import prism

        if not self._drafts:
            found = self.draft_file()
            self._drafts.append(prism.runtime(found[1], self.tensors) if found else None)
        return self._drafts[0]

    def guessing(self, speculation: Speculation, *draft: Draft | None) -> Model:
        """The same model, for decoding that guesses tokens and counts it in `speculation`; by its
        own draft network unless another one, or None, is given."""
        view = copy(self)
        view.speculation = speculation
        if draft:
            view._drafts = [*draft]
        return view

    @property
    def memory(self) -> int:
        """Bytes that the open model takes at most: its file and the packed weights."""
        return 5 * sum(tensor.nbytes for tensor in self.tensors.values()) // 2

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Held while a frame is coded: the processor's networks serve one at a time, GPUs many.

        What was coded, or went wrong, leaves only when the model is known to be whole: its hash is
        made meanwhile. Raises Corrupt if it is not."""
        try:
            with nullcontext() if gpu.chosen() else self._lock:
                yield
        except Exception:
            self.verify()
            raise
        self.verify()

    def network(self, threads: int) -> Engine:
        """The integer network, made at the first call for each thread count (0: all cores); on
        several GPUs they take turns. What they compute is right only if the file is whole (`turn`).

        Raises Corrupt when the values break a bound that the arithmetic needs; Usage when the GPU
        cannot take it.
        """
        gpus = gpu.chosen()
        place = gpus[next(self._turns) % len(gpus)] if gpus else None
        with self._making.setdefault(place, Lock()):
            if (threads, place) not in self._networks:
                try:
                    self._networks[threads, place] = self._make(threads, place)
                except ValueError as error:
                    self.verify()  # damage explains it better
                    raise Corrupt(f"the model {self.card.name} is unusable: {error}") from error
            return self._networks[threads, place]

    def _make(self, threads: int, place: int | None) -> Engine:
        shape = asdict(self.card.architecture)
        if place is None:
            from lmc.kernels._native import Network

            return Network(dict(self.tensors), shape, threads)
        try:
            return gpu.engine(self.tensors, shape, threads, place)
        except RuntimeError as error:
            why = f"the GPU cannot run {self.card.name}: {error}"
            raise Usage(why, hint="--device cpu") from error


def write(path: Path, card: Card, tensors: Tensors) -> None:
    """Write the model to `path` atomically (beside it, then renamed)."""
    from safetensors.numpy import save_file

    check(card.architecture, tensors)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
            beside,
            {"lmc": card.to_json()},
        )
        beside.chmod(0o644)  # the library makes it private; a model may serve many users
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_card(path: Path) -> Card:
    """The card alone, without looking at the tensors."""
    return Card.from_json(_file(path).metadata.get("lmc"))


def _file(path: Path) -> Safetensors:
    try:
        return Safetensors(path)
    except OSError as error:
        raise ModelMissing(f"cannot read the model {path}: {error.strerror}") from error


def read(path: Path) -> Model:
    """Open the model at `path` and check all of it: layout and sizes at once, the identity while
    the first frame is coded, which does not leave before (`Model.turn`).

    Raises ModelMissing when there is no such file, Corrupt when it is damaged, Unsupported when it
    needs a newer lmc.
    """
    from concurrent.futures import ThreadPoolExecutor

    file = _file(path)
    card = Card.from_json(file.metadata.get("lmc"))
    tensors = {name: file.view(name, DTYPES) for name in file.names()}
    check(card.architecture, tensors)
    if card.arithmetic != revision(tensors):
        raise Corrupt(f"the model {path} states an arithmetic that its tensors do not need")
    hasher = ThreadPoolExecutor(1)
    stated = hasher.submit(identity, card.architecture, tensors)
    hasher.shutdown(wait=False)

    def whole() -> None:
        if stated.result() != card.identity:
            raise Corrupt(
                f"the model {path} is damaged: its content does not have the identity it states",
                hint=f"remove it and get it again: lmc models pull {card.name}",
            )

    return Model(card, tensors, whole)
