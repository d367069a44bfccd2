"""The codec for text and any other bytes: adaptive byte models, mixed with a network where it pays.

FORMAT.md, section 5, has the methods. Some code bytes by the adaptive models alone, in three
profiles; `network` splits the bytes into tokens and walks each one down the vocabulary's trie,
every decision mixed from the network's probability and the byte models'
(kernels/src/textframe.hpp).

Which level does what, and how a frame is laid out in lanes, is decided here and written into each
frame; decoding asks nothing of this file's tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from lmc.codecs.base import MAX_WINDOW, WINDOW_UNIT, Frame, Plan, Report, Settings
from lmc.codecs.recipe import Reader, Writer
from lmc.errors import Corrupt
from lmc.kernels import _native, gpu
from lmc.kernels.start import start

if TYPE_CHECKING:
    from lmc.kernels._native import Engine
    from lmc.models.modelfile import Model
    from lmc.models.tokenizer import Ids

FAST, NORMAL, STRONG, NETWORK, LANES = 1, 2, 3, 4, 12
"""Method numbers; for the first three also the profile of the byte models, which begins knowing
nothing. PRIMED + profile is the method that begins from the start that lmc ships. A network's
frames of several lanes are LANES; those of NETWORK from before have lanes of equal bytes."""
PRIMED = 4

MOST_LANES = 256


@dataclass(frozen=True, slots=True)
class Layout:
    """How a network frame is cut: lanes that are coded in lockstep.

    lanes: 1 to MOST_LANES. window: tokens that a token attends to, a multiple of 16. anchor: first
    tokens of lane 0 that all lanes attend to, 0 to 255; window + anchor <= MAX_WINDOW.
    """

    lanes: int
    window: int
    anchor: int

    def to_params(self) -> bytes:
        return bytes([self.lanes - 1, self.window // WINDOW_UNIT - 1, self.anchor])

    @classmethod
    def from_params(cls, params: bytes, size: int) -> Layout:
        if len(params) != 3:
            raise Corrupt("a network frame has 3 bytes of parameters")
        layout = cls(params[0] + 1, (params[1] + 1) * WINDOW_UNIT, params[2])
        if layout.window + layout.anchor > MAX_WINDOW or layout.lanes > size:
            raise Corrupt("the layout of a network frame is out of range")
        return layout

    def fitted(self, tokens: int) -> Layout:
        """For content of so few tokens: each lane has one at least, lane 0 more than the anchor."""
        lanes = min(self.lanes, tokens)
        share = tokens // lanes
        anchor = self.anchor if lanes == 1 or share > self.anchor else share // 2
        return replace(self, lanes=lanes, anchor=anchor)

    def deal(self, tokens: int) -> list[int]:
        """Where each lane ends, in tokens, so that all end in the same step. Steps are what takes a
        decoder's time: lanes of equal bytes differ in tokens, and the longest has a quarter more.
        Lane 0 codes its anchor before the others begin."""
        alone = self.anchor if self.lanes > 1 else 0
        return [alone + (tokens - alone) * (lane + 1) // self.lanes for lane in range(self.lanes)]


def write_sizes(ends: list[int]) -> bytes:
    """The bytes of all lanes but the last, as their differences to equal parts."""
    out = Writer()
    equal = ends[-1] // len(ends)
    for begin, end in pairwise([0, *ends[:-1]]):
        out.signed(end - begin - equal)
    return out.done()


def read_sizes(payload: bytes, lanes: int, size: int) -> tuple[list[int], bytes]:
    """Where the lanes of a LANES frame of `size` bytes end, and the rest of the payload. Raises
    Corrupt."""
    reader = Reader(payload)
    equal, ends = size // lanes, [0]
    for _ in range(lanes - 1):
        ends.append(ends[-1] + equal + reader.signed(2 * size))
    ends.append(size)
    if any(end <= begin for begin, end in pairwise(ends)):
        raise Corrupt("a lane of a network frame has no bytes")
    return ends[1:], reader.rest()


@dataclass(frozen=True, slots=True)
class Effort:
    """A level's model and layout of network frames: one lane for each `lane_bytes`, at most
    `lanes`. Without a name the model is the largest that is installed.

    window: tokens; less where a model has not learned to look so far back (it then gets worse)."""

    model: str | None
    lane_bytes: int
    lanes: int
    window: int

    def layout(self, size: int, context: int) -> Layout:
        lanes = max(1, min(self.lanes, size // self.lane_bytes))
        window = min(self.window, context - ANCHOR, MAX_WINDOW - ANCHOR)
        return Layout(lanes, max(WINDOW_UNIT, window // WINDOW_UNIT * WINDOW_UNIT), ANCHOR)


# Attention needs some first tokens as a place to rest (Xiao et al. 2023): without any, lanes of
# 8 KiB take 1.8 % more. Many do not help other lanes: with 128 they take .05 to .5 % more.
ANCHOR = 4

# More lanes decode faster and cost a little, because each begins with little context.
EFFORTS = {
    3: Effort("lmc-tiny", lane_bytes=4 << 10, lanes=64, window=256),
    4: Effort("lmc-tiny", lane_bytes=16 << 10, lanes=64, window=768),
    5: Effort("lmc-small", lane_bytes=4 << 10, lanes=64, window=256),
    6: Effort("lmc-small", lane_bytes=16 << 10, lanes=64, window=768),
    7: Effort(None, lane_bytes=16 << 10, lanes=64, window=768),
    8: Effort(None, lane_bytes=32 << 10, lanes=64, window=1024),
    9: Effort(None, lane_bytes=256 << 10, lanes=32, window=2048),
}


def plan(settings: Settings) -> Plan:
    """What frames made with these settings may need. Raises ModelMissing."""
    size = settings.frame_size
    if not _wants_network(settings):
        return Plan(None, _native.mixer_bytes(_begin(_profile(settings.level))[0], size))
    model = model_of(settings)
    layout = _effort(settings).layout(size, model.card.architecture.context)
    return Plan(model.card.wire_id, network_memory(model, layout, size))


def pieces(data: bytes, settings: Settings) -> list[int]:
    """Sizes of the runs of `data` that are worth frames of their own, because one is text for
    the network and the next is not."""
    if not _wants_network(settings) or settings.codec == "text":
        return [len(data)]
    kinds = [looks_like_text(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    for i in range(1, len(kinds) - 1):  # a lone block is not worth a frame
        if kinds[i - 1] == kinds[i + 1]:
            kinds[i] = kinds[i - 1]
    cuts = [i * BLOCK for i in range(1, len(kinds)) if kinds[i] != kinds[i - 1]]
    return [b - a for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def encode_frame(data: bytes, settings: Settings, report: Report | None = None) -> Frame:
    """Encode content of 1 byte or more; a function of data, level and model."""
    if not _wants_network(settings):
        return encode_bytes(data, _profile(settings.level), report)
    certain = settings.codec == "text"
    if not certain and not looks_like_text(data):
        return encode_bytes(data, PRIMED + STRONG, report)
    model = model_of(settings)
    if not certain and not _network_pays(data, model, settings.threads):
        return encode_bytes(data, PRIMED + STRONG, report)
    layout = _effort(settings).layout(len(data), model.card.architecture.context)
    network, ids = _begun(data, model, settings.threads)
    if certain:
        return _encode_ids(ids, network, data, model, layout, report)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:  # after a GPU's last frames cores alone would be at work
        alone = beside.submit(_promised, data)
        mixed = _encode_ids(ids, network, data, model, layout, report)
    return _or_bytes(mixed, data, *alone.result())


def decode_frame(
    method: int,
    params: bytes,
    payload: bytes,
    size: int,
    model: object | None,
    threads: int,
    report: Report | None = None,
) -> bytes:
    """The content of `size` bytes. Raises Corrupt."""
    try:
        if method not in (NETWORK, LANES):
            if params:
                raise Corrupt("a frame of bytes has no parameters")
            profile, start = _begin(method)
            return _native.decode_bytes(profile, payload, size, report, start)
        layout = Layout.from_params(params, size)
        lanes = layout.lanes
        if method == LANES:
            ends, payload = read_sizes(payload, lanes, size)
        else:
            ends = [size * (lane + 1) // lanes for lane in range(lanes)]
        if model is None:
            raise Corrupt("a network frame in a member without a model")
        opened = cast("Model", model)
        network = opened.network(threads)
        frame = partial(
            _native.decode_network,
            network,
            opened.vocabulary,
            ends,
            layout.window,
            layout.anchor,
            payload,
            report,
            opened.start,
            opened.speculation,
            opened.draft() if opened.speculation and lanes == 1 else None,
        )
        with opened.turn():
            return gpu.code(frame, opened.card.name)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from error


def encode_bytes(data: bytes, method: int, report: Report | None = None) -> Frame:
    """A frame by the byte models alone; `method` is FAST, NORMAL or STRONG, or PRIMED more."""
    profile, start = _begin(method)
    payload = _native.encode_bytes(profile, data, report, start)
    return Frame(method, b"", payload, None, _native.mixer_bytes(profile, len(data)))


ASIDE = PRIMED + STRONG
"""The method of bytes that a frame of another codec holds beside its samples."""


def encode_aside(content: bytes) -> bytes:
    """Bytes that another codec's frame holds: empty for none."""
    return encode_bytes(content, ASIDE).payload


def decode_aside(coded: bytes, size: int, threads: int) -> bytes:
    """The `size` bytes that `encode_aside` coded. Raises Corrupt."""
    return decode_frame(ASIDE, b"", coded, size, None, threads) if size else b""


def _begin(method: int) -> tuple[int, bytes]:
    """The profile of a method of byte models, and what it begins from."""
    return (method, b"") if method <= STRONG else (method - PRIMED, start(method - PRIMED))


def encode_network(
    data: bytes,
    model: Model,
    layout: Layout,
    threads: int,
    report: Report | None = None,
) -> Frame:
    """A frame by network and byte models, in this layout or, of few tokens, in one with less lanes
    or anchor."""
    network, ids = _begun(data, model, threads)
    return _encode_ids(ids, network, data, model, layout, report)


def _begun(data: bytes, model: Model, threads: int) -> tuple[Engine, Ids]:
    """The network, and the tokens of a frame."""
    from concurrent.futures import ThreadPoolExecutor  # a file without a network does not wait

    with ThreadPoolExecutor(1) as loader:  # the first time, weights are packed meanwhile
        network = loader.submit(model.network, threads)
        ids = model.tokenizer.encode(data)
    return network.result(), ids


def _encode_ids(
    ids: Ids, network: Engine, data: bytes, model: Model, layout: Layout, report: Report | None
) -> Frame:
    import numpy as np

    layout = layout.fitted(len(ids))
    stops = layout.deal(len(ids))
    ends = model.tokenizer.table.ends(ids)[np.array(stops) - 1].tolist()
    frame = partial(
        _native.encode_network,
        network,
        model.vocabulary,
        ends,
        layout.window,
        layout.anchor,
        ids,
        np.diff([0, *stops]).astype(np.uint32),
        report,
        model.start,
    )
    with model.turn():
        bits = gpu.code(frame, model.card.name)
    method, table = (LANES, write_sizes(ends)) if layout.lanes > 1 else (NETWORK, b"")
    memory = network_memory(model, layout, len(data))
    return Frame(method, layout.to_params(), table + bits, model.card.wire_id, memory)


def network_memory(model: Model, layout: Layout, size: int) -> int:
    """Bytes that decoding a network frame takes at most."""
    a = model.card.architecture
    cached = layout.lanes * (layout.window + 256) + layout.anchor + 256
    keys = cached * a.layers * a.kv_heads * (2 * a.head_dim + 16)
    rows = layout.lanes * (a.vocab * 16 + 64 * a.dim + 32 * a.hidden)
    return model.memory + keys + rows + _native.mixer_bytes(STRONG, size)


def _wants_network(settings: Settings) -> bool:
    if settings.codec in ("bytes", "image", "audio"):
        return False
    return settings.level in EFFORTS or settings.model is not None


def _profile(level: int) -> int:
    return PRIMED + (FAST if level == 1 else STRONG if level in EFFORTS else NORMAL)


def _effort(settings: Settings) -> Effort:
    """A model that was asked for by name serves at every level; the lowest decode fastest."""
    usual = EFFORTS.get(settings.level, EFFORTS[7])
    if settings.window:
        usual = replace(usual, window=settings.window)
    if settings.lane_size:
        usual = replace(usual, lane_bytes=settings.lane_size, lanes=MOST_LANES)
    return usual


def model_of(settings: Settings) -> Model:
    """The model that these settings ask for, opened. Raises ModelMissing."""
    from lmc.models import registry

    name = settings.model or _effort(settings).model or registry.largest().name
    return registry.open_model(name)


# ---- what the network is good for ----------------------------------------------------------------

BLOCK = 1 << 16
SAMPLE = 2048  # bytes of one sample
SAMPLES = 4

# No text holds control characters (but for white space and escape) or bytes that break UTF-8 in
# such numbers; single slips are met in real text and in other encodings of it.
_CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32), 127])
_NOT_TEXT = re.compile(f"[{re.escape(_CONTROLS.decode())}\udc80-\udcff]")
MOST_NOT_TEXT = 0.30

# Byte models learn, and of PROBE bytes make up to 1.3 times as much a byte as of all.
PROBE, PROMISE = 1 << 15, 1.4
STRING = 32  # bytes
PICKED = 16  # one string of so many


def looks_like_text(block: bytes) -> bool:
    return _not_text(block) <= MOST_NOT_TEXT


def _not_text(data: bytes) -> float:
    """The share of characters that no text holds."""
    try:
        text = str(data, "utf-8")
        found = len(data) - len(data.translate(None, _CONTROLS))  # a fifth of the time
    except UnicodeDecodeError:
        text = str(data, "utf-8", "surrogateescape")
        found = len(_NOT_TEXT.findall(text))
    return found / max(len(text), 1)


def _promised(data: bytes) -> tuple[float, Frame | None]:
    """About how many bytes the byte models alone make of `data`, and the frame where it is short.

    A sample shows how well they do, but for what has been there before, which costs little then."""
    middle = max(0, len(data) - PROBE) // 2
    sample = data[middle : middle + PROBE]
    alone = encode_bytes(sample, PRIMED + STRONG)
    if len(sample) == len(data):
        return len(alone.payload), alone
    return len(alone.payload) / len(sample) * len(data) * (1 - repeated(data)), None


def _or_bytes(mixed: Frame, data: bytes, promised: float, alone: Frame | None) -> Frame:
    """The smaller one of a network's frame and what the byte models alone make of its content.

    Those win where they know all that the network knows, and lanes are in their way: of rows by a
    rule, of languages that the network has not learned, of what is repeated over long distances."""
    if alone is None:
        if promised > PROMISE * len(mixed.payload):
            return mixed
        alone = encode_bytes(data, PRIMED + STRONG)
    return min(mixed, alone, key=lambda frame: len(frame.payload))


def repeated(data: bytes) -> float:
    """The share of the strings in `data` that have been there before, by a sample of them; 1 where
    the sample is too small to tell. It takes some 15 ns a byte."""
    import numpy as np

    found = []
    for at in range(0, len(data) - STRING + 1, 1 << 20):  # bounds the memory
        block = data[at : at + (1 << 20) + STRING - 1]
        places = len(block) - STRING + 1
        words = np.ndarray(len(block) - 7, "<u8", block, strides=(1,))
        mixed = np.zeros(places, np.uint64)
        for word in range(0, STRING, 8):
            mixed = (mixed ^ words[word : word + places]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        found.append(mixed[mixed % np.uint64(PICKED) == 0])
    hashes = np.concatenate(found) if found else np.empty(0, np.uint64)
    if 2 * PICKED * len(hashes) <= len(data):  # few different strings, or hardly any
        return 1.0
    return 1 - len(np.unique(hashes)) / len(hashes)


def _network_pays(data: bytes, model: Model, threads: int) -> bool:
    """Whether samples come out smaller with the network than by the byte models alone."""
    if _not_text(data[: 1 << 20]) == 0:
        return True
    step = max(SAMPLE, len(data) // SAMPLES)
    sample = b"".join(data[at : at + SAMPLE] for at in range(0, len(data), step))
    mixed = encode_network(sample, model, Layout(1, 512, ANCHOR), threads)
    return len(mixed.payload) < 0.97 * len(encode_bytes(sample, PRIMED + STRONG).payload)
