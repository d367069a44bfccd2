"""The card of a model: what it is, where it comes from, and what identifies it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from lmc.errors import Corrupt, Unsupported

# Revisions of ARITHMETIC.md that this lmc computes. A model states the least that it needs.
# 2: the tensors `reach` and `mixer.start`. 3: norms of heads, and frequencies of a layer's own.
PLAIN, REACH, HEADS = 1, 2, 3
ARITHMETIC = HEADS  # the newest
WIRE_ID_BYTES = 8  # of the identity, in the header of a compressed file


@dataclass(frozen=True)
class Architecture:
    """Sizes of the integer network (ARITHMETIC.md). `eps` is the norms' epsilon in Q32."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    extra: int
    context: int
    tied: bool
    eps: int

    def check(self) -> None:
        """Raise Corrupt for sizes that no network can have."""
        for field in fields(self):
            value = getattr(self, field.name)
            kind = bool if field.name == "tied" else int
            if type(value) is not kind or (kind is int and not 0 <= value < 1 << 40):
                raise Corrupt(f"the model card states an impossible {field.name}: {value!r}")
        sizes = (self.dim, self.layers, self.heads, self.kv_heads, self.hidden, self.context)
        if not all(1 <= size <= 1 << 20 for size in (*sizes, self.extra)) or self.dim > 16384:
            raise Corrupt("the model card states a size of zero or an absurd one")
        if not 256 <= self.vocab <= 1 << 20:
            raise Corrupt("the model card states an impossible vocabulary")
        if self.heads % self.kv_heads or self.head_dim not in range(32, 257, 32):
            raise Corrupt("the model card's attention heads do not fit together")


@dataclass(frozen=True)
class Card:
    """One model. `identity` is the SHA-256, in hex, of all that influences decoding."""

    name: str
    licence: str
    source: str
    arithmetic: int
    architecture: Architecture
    identity: str
    recipe: str  # how the weights became integers, one line for people

    @property
    def wire_id(self) -> bytes:
        """What a compressed file names the model by."""
        return bytes.fromhex(self.identity)[:WIRE_ID_BYTES]

    @property
    def parameters(self) -> int:
        """Weights of the network; those of a tied head are counted once."""
        a = self.architecture
        attention = a.dim * a.head_dim * (2 * a.heads + 2 * a.kv_heads)
        layer = attention + 3 * a.dim * a.hidden + 2 * a.dim
        rows = a.vocab + a.extra + (0 if a.tied else a.vocab)
        return a.layers * layer + rows * a.dim + a.dim

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: Any) -> Card:
        """Raises Corrupt for nonsense, Unsupported for another revision of the arithmetic."""
        try:
            raw = json.loads(text)
            revision = raw["arithmetic"]
            if isinstance(revision, int) and revision > ARITHMETIC:
                raise Unsupported(f"the model needs revision {revision} of lmc's arithmetic")
            if type(revision) is not int or revision < PLAIN:
                raise Corrupt("the model card names no known arithmetic")
            card = cls(**{**raw, "architecture": Architecture(**raw["architecture"])})
            words = (card.name, card.licence, card.source, card.identity, card.recipe)
            if not all(isinstance(word, str) for word in words):
                raise Corrupt("the model card is malformed")
            if len(bytes.fromhex(card.identity)) != 32:
                raise Corrupt("the model card has a malformed identity")
        except (TypeError, ValueError, KeyError, RecursionError) as error:
            raise Corrupt("the model card is malformed") from error
        card.architecture.check()
        return card
