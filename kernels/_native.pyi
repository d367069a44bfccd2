from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

# The network (bind_network.cpp)

def kernel_names() -> list[str]: ...

class Network:
    def __init__(
        self,
        tensors: dict[str, NDArray[Any]],
        config: dict[str, int],
        threads: int = 0,
        variant: str = "",
    ) -> None: ...
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
    @property
    def variant(self) -> str: ...
    @property
    def vocab(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class Cache:
    def __init__(
        self, network: Network, lanes: int, window: int, anchor: int = 0, chunk: int = 128
    ) -> None: ...
    def length(self, lane: int) -> int: ...
    def rewind(self, lane: int, tokens: int) -> None: ...
    @property
    def lanes(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def anchor(self) -> int: ...
    @property
    def bytes(self) -> int: ...
