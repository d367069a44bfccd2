"""The C++ kernels, typed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | memoryview | NDArray[Any]

# ---- the network (bind_network.cpp) ----

def kernel_names() -> list[str]: ...

class Engine:
    @overload
    def forward(
        self,
        cache: Cache,
        lane: NDArray[np.int32],
        token: NDArray[np.int32],
        logits: Literal[True] | NDArray[np.int32] = True,
    ) -> NDArray[np.int32]: ...
    @overload
    def forward(
        self,
        cache: Cache,
        lane: NDArray[np.int32],
        token: NDArray[np.int32],
        logits: Literal[False],
    ) -> None: ...
    def forward_tree(
        self,
        cache: Cache,
        lane: NDArray[np.int32],
        token: NDArray[np.int32],
        parent: NDArray[np.int32],
        logits: bool | NDArray[np.int32] = True,
    ) -> NDArray[np.int32]: ...
    @property
    def variant(self) -> str: ...
    @property
    def vocab(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class Network(Engine):
    def __init__(
        self,
        tensors: Mapping[str, NDArray[Any]],
        config: Mapping[str, Any],
        threads: int = 0,
        variant: str = "",
    ) -> None: ...

def cuda_devices(library: str) -> list[str]: ...
def cuda_wake(library: str, device: int) -> None: ...
def cuda_engine(
    library: str,
    tensors: Mapping[str, NDArray[Any]],
    config: Mapping[str, Any],
    threads: int,
    device: int,
) -> Engine: ...

class Cache:
    def __init__(
        self, network: Engine, lanes: int, window: int, anchor: int = 0, chunk: int = 128
    ) -> None: ...
    def length(self, lane: int) -> int: ...
    def keep(self, row: int) -> None: ...
    @property
    def lanes(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def anchor(self) -> int: ...
    @property
    def bytes(self) -> int: ...

# ---- the coder (bind_coder.cpp) ----

def encode_bits(bits: NDArray[np.uint8], p: NDArray[np.uint32]) -> bytes: ...
def encode_words(bits: NDArray[np.uint8], p: NDArray[np.uint32]) -> NDArray[np.uint32]: ...
def decode_bits(payload: bytes, p: NDArray[np.uint32]) -> NDArray[np.uint8]: ...

# ---- deflate streams and filters of PNG (bind_deflate.cpp) ----

def inflate(
    stream: bytes, size: int, window_bits: int, most: int, exact: bool = True
) -> tuple[bytes, bytes, int] | None: ...
def deflate(recipe: bytes, content: bytes) -> bytes: ...
def deflate_plain(content: bytes) -> bytes: ...
def crc32(data: bytes) -> int: ...
def adler32(data: bytes) -> int: ...
def png_unfilter(data: bytes, rows: int, width: int, step: int) -> tuple[bytes, bytes] | None: ...
def png_filter(data: bytes, filters: bytes, width: int, step: int) -> bytes: ...
def png_usual_filters(data: bytes, rows: int, width: int, step: int) -> bytes: ...

# ---- the text codec (bind_text.cpp) ----

class Damaged(ValueError): ...

class Vocabulary:
    def __init__(self, bytes: NDArray[Any], offsets: NDArray[Any]) -> None: ...
    def __len__(self) -> int: ...
    def spells(self, ids: NDArray[np.int32], data: Buffer) -> bool: ...

class Merges:
    def __init__(
        self,
        vocabulary: Vocabulary,
        merges: bytes,
        gpt2: bool,
        contractions: bool,
        numbers: int,
        whole: bool,
    ) -> None: ...
    def encode(self, texts: Sequence[bytes]) -> list[NDArray[np.int32]]: ...

class Bias:
    def __init__(self, vocabulary: int) -> None: ...
    def learn(self, logits: NDArray[np.int32], token: int) -> None: ...
    @property
    def values(self) -> NDArray[np.int32]: ...

def token_weights(
    logits: NDArray[np.int32], bias: NDArray[np.int32] | None = None
) -> NDArray[np.uint32]: ...
def mixer_bytes(profile: int, size: int) -> int: ...
def encode_bytes(
    profile: int,
    data: bytes,
    progress: Callable[[int], object] | None = None,
    start: Buffer = b"",
) -> bytes: ...
def decode_bytes(
    profile: int,
    payload: bytes,
    size: int,
    progress: Callable[[int], object] | None = None,
    start: Buffer = b"",
) -> bytes: ...
def start_size(profile: int) -> int: ...
def start_weights(profile: int) -> int: ...
def unlearned(profile: int) -> bytes: ...
def learn_bytes(profile: int, data: bytes, start: Buffer = b"") -> bytes: ...
@overload
def encode_network(
    network: Engine,
    vocabulary: Vocabulary,
    ends: list[int],
    window: int,
    anchor: int,
    tokens: NDArray[np.int32],
    counts: NDArray[np.uint32],
    progress: Callable[[int], object] | None = None,
    start: Buffer = b"",
    learn: Literal[False] = False,
) -> bytes: ...
@overload
def encode_network(
    network: Engine,
    vocabulary: Vocabulary,
    ends: list[int],
    window: int,
    anchor: int,
    tokens: NDArray[np.int32],
    counts: NDArray[np.uint32],
    progress: Callable[[int], object] | None = None,
    start: Buffer = b"",
    *,
    learn: Literal[True],
) -> tuple[bytes, bytes]: ...
def decode_network(
    network: Engine,
    vocabulary: Vocabulary,
    ends: list[int],
    window: int,
    anchor: int,
    payload: bytes,
    progress: Callable[[int], object] | None = None,
    start: Buffer = b"",
    speculation: Speculation | None = None,
    draft: Draft | None = None,
) -> bytes: ...

class Draft:
    def __init__(self, definition: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None: ...
    def chain(
        self,
        tokens: NDArray[np.int32],
        taps: NDArray[np.float32],
        guesses: NDArray[np.int32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...

class Speculation:
    def __init__(self) -> None: ...
    @property
    def tokens(self) -> int: ...
    @property
    def passes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def offered(self) -> list[int]: ...
    @property
    def accepted(self) -> list[int]: ...
    @property
    def guessing(self) -> float: ...
    @property
    def network(self) -> float: ...
    @property
    def total(self) -> float: ...

# ---- drawn images (bind_graphic.cpp) ----

def encode_graphic(
    samples: NDArray[np.uint8],
    depth: int,
    effort: int,
    progress: Callable[[int], object] | None = None,
) -> bytes: ...
def decode_graphic(
    payload: bytes,
    height: int,
    width: int,
    channels: int,
    depth: int,
    effort: int,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.uint8]: ...
def graphic_bytes(height: int, width: int, channels: int, effort: int) -> int: ...
def looks_drawn(samples: NDArray[np.uint8]) -> int: ...

# ---- the mixer (bind_mixer.cpp) ----

def mixer_replay(
    profile: int,
    ends: Sequence[int],
    script: Sequence[tuple[int, int, int, int]],
    scalar: bool = False,
    start: Sequence[int] = (),
    learn: bool = False,
) -> list[int]: ...
def byte_code_length(data: bytes, profile: int) -> float: ...

# ---- the JPEG codec (bind_jpeg.cpp) ----

def jpeg_encode(
    data: bytes,
    bands: int = 1,
    threads: int = 0,
    progress: Callable[[int], object] | None = None,
) -> tuple[bytes, list[bytes], int] | None: ...
def jpeg_decode(
    outside: bytes,
    bands: Sequence[bytes],
    size: int,
    threads: int = 0,
    progress: Callable[[int], object] | None = None,
) -> bytes: ...
def jpeg_blocks(data: bytes) -> list[tuple[int, int, int, int, list[int], list[int]]]: ...

# ---- photos (bind_photo.cpp) ----

SmallLayer = tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32], int]

class PhotoNetworks:
    def __init__(self, places: Sequence[Sequence[SmallLayer]]) -> None: ...

def photo_encode(
    networks: PhotoNetworks,
    samples: NDArray[np.uint16],
    depth: int,
    progress: Callable[[int], object] | None = None,
    variant: str = "",
) -> bytes: ...
def photo_decode(
    networks: PhotoNetworks,
    payload: bytes,
    height: int,
    width: int,
    channels: int,
    depth: int,
    progress: Callable[[int], object] | None = None,
    variant: str = "",
) -> NDArray[np.uint16]: ...
def photo_rows(
    samples: NDArray[np.uint16], depth: int, channel: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]: ...
def photo_bytes(height: int, width: int, channels: int, depth: int) -> int: ...
def photo_variants() -> list[str]: ...

# ---- pictures that were JPEG files (bind_exjpeg.cpp) ----

def jpeg_write(headers: bytes, blocks: Sequence[NDArray[np.int16]]) -> bytes | None: ...
def jpeg_samples(data: bytes, fine: bool) -> list[tuple[int, int, NDArray[np.uint8]]]: ...
def jpeg_fit(
    low: NDArray[np.int16],
    high: NDArray[np.int16],
    steps: NDArray[np.uint16],
    spread: NDArray[np.float64],
    fine: bool,
    threads: int = 0,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]: ...
def jpeg_thin(
    full: NDArray[np.int16],
    row_kind: int,
    column_kind: int,
    row_phase: int,
    column_phase: int,
    bias: Sequence[int],
    ends: Sequence[bool],
    start: NDArray[np.int16] | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]: ...
def jpeg_to_ycc(rgb: NDArray[np.uint8]) -> NDArray[np.int16]: ...

# ---- FLAC files (bind_flac.cpp) ----

def flac_read(
    data: bytes, start: int, channels: int, bits: int, most: int
) -> tuple[NDArray[np.int32], bytes, int, NDArray[np.uint32], NDArray[np.uint32]] | None: ...
def flac_write(
    recipe: bytes, samples: NDArray[np.int32], bits: int
) -> tuple[bytes, NDArray[np.uint32], NDArray[np.uint32]]: ...

# ---- FFV1 (bind_ffv1.cpp) ----

def ffv1_take(
    packets: Sequence[bytes], record: bytes, width: int, height: int, most: int
) -> tuple[NDArray[np.uint16], int, list[tuple[int, int]], bool, bytes] | None: ...
def ffv1_give(
    samples: NDArray[np.uint16],
    bits: int,
    coarse: Sequence[tuple[int, int]],
    rgb: bool,
    side: bytes,
    record: bytes,
    width: int,
    height: int,
) -> list[bytes]: ...

# ---- packets of lossless video (bind_packets.cpp) ----

def utvideo_read(
    packet: bytes, planes: Sequence[tuple[int, int, bool]], slices: int
) -> tuple[NDArray[np.uint8], bytes] | None: ...
def utvideo_write(
    samples: NDArray[np.uint8],
    planes: Sequence[tuple[int, int, bool]],
    slices: int,
    side: bytes,
    at: int,
) -> tuple[bytes, int]: ...

class HuffyuvStream:
    def __init__(
        self,
        planes: Sequence[tuple[int, int]],
        bits: int,
        prediction: int,
        mixed: bool,
        interlaced: bool,
        own_tables: bool,
        tables: bytes,
    ) -> None: ...
    def read(self, packet: bytes) -> tuple[NDArray[np.uint16], bytes] | None: ...
    def write(
        self, samples: NDArray[np.uint16], usual: bool, side: bytes, at: int
    ) -> tuple[bytes, int]: ...

# ---- sounds (bind_sound.cpp) ----

class SoundNetwork:
    def __init__(self, layers: Sequence[SmallLayer]) -> None: ...

def sound_encode(
    samples: NDArray[np.int32],
    ranges: Sequence[tuple[int, int]],
    effort: int,
    fade: int,
    weighted: bool,
    network: SoundNetwork | None = None,
    progress: Callable[[int], object] | None = None,
    variant: str = "",
) -> bytes: ...
def sound_decode(
    payload: bytes,
    length: int,
    ranges: Sequence[tuple[int, int]],
    effort: int,
    fade: int,
    weighted: bool,
    network: SoundNetwork | None = None,
    progress: Callable[[int], object] | None = None,
    variant: str = "",
) -> NDArray[np.int32]: ...
def sound_rows(
    samples: NDArray[np.int32],
    ranges: Sequence[tuple[int, int]],
    effort: int,
    fade: int,
    weighted: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]: ...
def sound_bytes(channels: int) -> int: ...
def sound_variants() -> list[str]: ...

# ---- videos (bind_video.cpp) ----

class VideoNetworks:
    def __init__(self, places: Sequence[Sequence[SmallLayer]]) -> None: ...

def video_encode(
    samples: NDArray[np.uint16],
    frames: int,
    planes: Sequence[tuple[int, int, int, int]],
    depth: int,
    effort: int,
    strips: int,
    networks: VideoNetworks | None = None,
    threads: int = 0,
    progress: Callable[[int], object] | None = None,
    variant: str = "",
) -> list[bytes]: ...
def video_decode(
    payloads: Sequence[bytes],
    frames: int,
    planes: Sequence[tuple[int, int, int, int]],
    depth: int,
    effort: int,
    strips: int,
    networks: VideoNetworks | None = None,
    threads: int = 0,
    progress: Callable[[int], object] | None = None,
    variant: str = "",
) -> NDArray[np.uint16]: ...
def video_rows(
    samples: NDArray[np.uint16],
    frames: int,
    planes: Sequence[tuple[int, int, int, int]],
    depth: int,
    effort: int,
    strips: int,
    every: int,
) -> list[tuple[NDArray[np.uint8], NDArray[np.int32]]]: ...
def video_bytes(planes: Sequence[tuple[int, int, int, int]], strips: int) -> int: ...
def video_most_strips(planes: Sequence[tuple[int, int, int, int]]) -> int: ...
def video_variants() -> list[str]: ...
