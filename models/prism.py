"""Draft networks: the file of one, and a draft step in numpy, which faster runtimes follow.

A draft guesses the next tokens of a text that a target network decodes, so that the target can run
over a whole tree of guesses at once. It decides speed only, never a coded bit, and so it computes
in floating point. It reads what the target has computed (EAGLE, Li et al. 2024): a module is a
matrix that joins the embedding of a token with the state before it, and one transformer layer. Its
state goes through the target's final norm and head and into the module of the next step. Steps may
have modules of their own (PRISM, arXiv 2602.01762), all of which share one cache: the keys of known
tokens are those of the first step's module, the keys of guesses those of the module that ran.

    feature f_i  the target's residual stream after its last layer, at token i; or a matrix times
                 the residual streams after several layers (`taps`)
    step 0       at every known token u_{i+1}: z = fc(embedding(u_{i+1}), f_i), at position i
    step j       at a guess y, j tokens after the last known one: z = fc(embedding(y), state of the
                 parent), at the parent's position + 1; sees the known tokens, its ancestors, itself
    state        s = z + o(attention(z)); s = s + down(silu(gate(n)) * up(n)), n = norm(s)
    guess        softmax(head(final_norm(s))): the token after u_{i+1} or y

With `norms`, embedding, feature, state and tap are each divided by their root mean square before
the matrix that reads them. Heads (`medusa`, Cai et al. 2024) guess the token j + 1 after u_{i+1}
from f_i alone: s = f_i + silu(matrix_j f_i).

The file is safetensors: int8 matrices with a float32 scale for each row, float32 biases and gains,
and the Definition as metadata.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, ModelMissing
from lmc.models.safetensors import Safetensors

if TYPE_CHECKING:
    from lmc.kernels import _native

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

SUFFIX = ".draft.safetensors"
KINDS = ("prism", "eagle2", "hass", "eagle3", "medusa")
DTYPES = {"I8": "<i1", "F32": "<f4", "I32": "<i4"}
LIMIT = 127  # of an int8 weight
MATRICES = ("fc", "q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Definition:
    """What a draft is. Sizes are those of a module; `dim` and `vocab` are the target's."""

    kind: str
    target: str  # identity of the model it drafts for
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    rope_theta: float
    epsilon: float  # of the draft's own norms
    reach: int  # tokens that a token sees, itself included; 0: all
    taps: tuple[int, ...]  # layers after which the residual stream is read, counted from 0
    modules: int  # or heads of medusa
    steps: tuple[int, ...]  # module of each step; the last entry serves all later steps
    norms: bool
    vocab: int
    draft_vocab: int  # tokens that it can guess
    own_head: bool  # a norm and a head of its own, not the target's
    licence: str
    source: str

    def module(self, step: int) -> int:
        """The module of step `step`."""
        return self.steps[min(step, len(self.steps) - 1)]

    def check(self) -> None:
        """Raise Corrupt for what no draft can be."""
        for field in fields(self):
            value = getattr(self, field.name)
            kind = str(field.type)
            fits = (
                isinstance(value, tuple) and all(type(x) is int and 0 <= x < 4096 for x in value)
                if kind.startswith("tuple")
                else type(value).__name__ == kind
            )
            if not fits:
                raise Corrupt(f"the draft states an impossible {field.name}: {value!r}")
        sizes = (self.dim, self.heads, self.kv_heads, self.head_dim, self.hidden, self.modules)
        if self.kind not in KINDS or not all(1 <= size <= 1 << 16 for size in sizes):
            raise Corrupt("the draft states an unknown kind, a size of zero or an absurd one")
        if self.heads % self.kv_heads or self.head_dim % 2 or not 0 <= self.reach < 1 << 24:
            raise Corrupt("the draft's attention heads do not fit together")
        if not 1 <= self.draft_vocab <= self.vocab <= 1 << 20:
            raise Corrupt("the draft states an impossible vocabulary")
        if not (math.isfinite(self.rope_theta) and self.rope_theta > 1 and 0 < self.epsilon < 1):
            raise Corrupt("the draft states an impossible rotary base or epsilon")
        if not (1 <= len(self.taps) <= 8 and 1 <= len(self.steps) <= 64):
            raise Corrupt("the draft states too many or too few taps or steps")
        if max(self.steps) >= self.modules:
            raise Corrupt("the draft has a step without a module")

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of the matrices."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        out: dict[str, tuple[int, int]] = {}
        if len(self.taps) > 1:
            out["fuse"] = self.dim, len(self.taps) * self.dim
        if self.own_head:
            out["head"] = self.draft_vocab, self.dim
        sizes = {
            "fc": (self.dim, 2 * self.dim),
            "q": (query, self.dim),
            "k": (key, self.dim),
            "v": (key, self.dim),
            "o": (self.dim, query),
            "gate": (self.hidden, self.dim),
            "up": (self.hidden, self.dim),
            "down": (self.dim, self.hidden),
        }
        if self.kind == "medusa":
            sizes = {"fc": (self.dim, self.dim)}
        for m in range(self.modules):
            out.update({f"module.{m}.{name}": size for name, size in sizes.items()})
        return out

    def vectors(self) -> list[str]:
        """The names of the vectors of `dim` numbers."""
        out = [name + ".bias" for name in self.matrices() if name.endswith(("fuse", "fc"))]
        if self.own_head:
            out.append("head.norm")
        if self.kind != "medusa":
            out += [f"module.{m}.norm" for m in range(self.modules)]
        return out

    def expected(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name, dtype and shape of every tensor of the file."""
        out: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, (rows, columns) in self.matrices().items():
            out[name + ".weight"] = "<i1", (rows, columns)
            out[name + ".scale"] = "<f4", (rows,)
        out.update(dict.fromkeys(self.vectors(), ("<f4", (self.dim,))))
        if self.draft_vocab < self.vocab:
            out["vocabulary"] = "<i4", (self.draft_vocab,)
        return out


@dataclass(frozen=True)
class Draft:
    """A draft that is open: its definition and its tensors as the file has them."""

    definition: Definition
    tensors: Mapping[str, Array]

    @property
    def vocabulary(self) -> npt.NDArray[np.int32]:
        """The tokens that it can guess, rising."""
        found = self.tensors.get("vocabulary")
        return np.arange(self.definition.vocab, dtype=np.int32) if found is None else found

    def floats(self) -> dict[str, Floats]:
        """The numbers that the tensors stand for, matrices by the names that `matrices` gives."""
        d = self.definition
        out: dict[str, Floats] = {
            name: self.tensors[name + ".weight"] * self.tensors[name + ".scale"][:, None]
            for name in d.matrices()
        }
        out.update({name: self.tensors[name] for name in d.vectors()})
        return out


def _check(d: Definition, tensors: Mapping[str, Array], where: str) -> None:
    d.check()
    expected = d.expected()
    if set(tensors) != set(expected):
        stranger = min(set(tensors) ^ set(expected))
        raise Corrupt(f"{where}: the draft lacks the tensor {stranger}, or should not have it")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != np.dtype(dtype) or tensor.shape != shape:
            raise Corrupt(f"{where}: tensor {name} has the wrong shape or type")
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise Corrupt(f"{where}: tensor {name} has values that are not finite")
    if "vocabulary" in tensors:
        ids = tensors["vocabulary"]
        if ids[0] < 0 or ids[-1] >= d.vocab or not (ids[1:] > ids[:-1]).all():
            raise Corrupt(f"{where}: the draft's vocabulary is not one of its target")


def write(
    path: Path, d: Definition, floats: Mapping[str, Floats], vocabulary: Array | None = None
) -> None:
    """Round the matrices to int8 and write the file atomically. `floats` as `Draft.floats` has
    them; `vocabulary`: rising token ids, or None for all."""
    from safetensors.numpy import save_file

    tensors: dict[str, Array] = {name: floats[name].astype(np.float32) for name in d.vectors()}
    for name in d.matrices():
        scale = np.maximum(np.abs(floats[name]).max(axis=1), 1e-20).astype(np.float32) / LIMIT
        rounded = np.rint(floats[name] / scale[:, None]).clip(-LIMIT, LIMIT)
        tensors[name + ".weight"], tensors[name + ".scale"] = rounded.astype(np.int8), scale
    if vocabulary is not None and len(vocabulary) < d.vocab:
        tensors["vocabulary"] = vocabulary.astype(np.int32)
    _check(d, tensors, str(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        metadata = {"draft": json.dumps(asdict(d), sort_keys=True)}
        save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, beside, metadata)
        beside.chmod(0o644)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path) -> Draft:
    """Open the draft at `path`. Raises ModelMissing when it is not there, Corrupt when its layout
    or its sizes are wrong."""
    try:
        file = Safetensors(path)
    except OSError as error:
        raise ModelMissing(f"cannot read the draft {path}: {error.strerror}") from error
    try:
        raw = json.loads(file.metadata["draft"])
        d = Definition(**{**raw, "taps": tuple(raw["taps"]), "steps": tuple(raw["steps"])})
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise Corrupt(f"{path} states no draft") from error
    tensors = {name: file.view(name, DTYPES) for name in file.names()}
    _check(d, tensors, str(path))
    return Draft(d, tensors)


# --- at work ---


def runtime(draft: Draft, tensors: Mapping[str, Array], epsilon: float = 1e-5) -> _native.Draft:
    """A draft as decoders run it (kernels/src/draft_network.cpp), beside the target whose tensors
    these are. `epsilon`: of the target's final norm. Raises Corrupt where the two do not fit."""
    from lmc.kernels import _native
    from lmc.models.floatnet import gains, head_rows, real

    d = draft.definition
    embed = tensors["embed.weight"]
    if d.kind == "medusa" or embed.shape[1] != d.dim or len(embed) <= d.vocab:
        raise Corrupt("the draft does not fit its target")
    given = {n: np.ascontiguousarray(t) for n, t in draft.tensors.items()}
    if not d.own_head:
        weight, scale = head_rows(tensors, d.vocab)
        given["head.weight"] = np.ascontiguousarray(weight[draft.vocabulary])
        given["head.scale"] = scale[draft.vocabulary].astype(np.float32)
        given["head.norm"] = gains(tensors, "final_norm", d.dim)
    given |= {
        "embed.weight": np.ascontiguousarray(embed),
        "embed.scale": real(tensors, "embed", "scale").astype(np.float32),
        "final_norm": given.pop("head.norm"),
        "vocabulary": np.ascontiguousarray(draft.vocabulary),
    }
    facts = asdict(d) | {"final_epsilon": d.epsilon if d.own_head else epsilon}
    try:
        return _native.Draft(facts, given)
    except ValueError as error:
        raise Corrupt(f"the draft cannot be used: {error}") from error


# --- the reference ---


def _unit(x: Array, epsilon: float) -> Floats:
    """x over its root mean square, along the last axis."""
    rms = np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(epsilon))
    return np.asarray(x / rms, np.float32)


def _silu(x: Array) -> Floats:
    return np.asarray(x / (1 + np.exp(-x)), np.float32)


class Drafter:
    """A draft beside its target, for one text: `extend` with what is known, then `step` by step
    into a tree, then `extend` again, which forgets the tree."""

    def __init__(
        self, draft: Draft, embed: Floats, final_norm: Floats, head: Floats, epsilon: float
    ) -> None:
        """`embed` [vocab + 1, dim], `final_norm` [dim], `head` [vocab, dim] and the norm's
        `epsilon` are the target's."""
        d = self.definition = draft.definition
        self.vocabulary = draft.vocabulary
        self._w = draft.floats()
        self._embed = embed
        self._gain = self._w["head.norm"] if d.own_head else final_norm
        self._head = self._w["head"] if d.own_head else head[self.vocabulary]
        self._epsilon = d.epsilon if d.own_head else epsilon
        shape = (0, d.kv_heads, d.head_dim)
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._known = 0  # keys before this one are of known tokens, the rest of guesses
        self._ancestors: list[list[int]] = []  # of each guess, itself last

    def feature(self, taps: Floats) -> Floats:
        """[n, dim] of the residual streams [n, taps, dim]."""
        d = self.definition
        if len(d.taps) == 1:
            return taps[:, 0]
        inputs = _unit(taps, d.epsilon) if d.norms else taps
        whole = inputs.reshape(len(taps), -1) @ self._w["fuse"].T + self._w["fuse.bias"]
        return np.asarray(whole, np.float32)

    def extend(self, tokens: Array, taps: Floats) -> Floats:
        """Step 0. `tokens` [n]: the known tokens that come next, each with the target's residual
        streams [n, taps, dim] at the token before it. Their states [n, dim]."""
        d, first = self.definition, self._known
        self._keys, self._values = self._keys[:first], self._values[:first]
        self._ancestors = []
        self._known = first + len(tokens)
        place = np.arange(first, self._known)
        back = place[:, None] - np.arange(self._known)
        seen = (back >= 0) & ((back < d.reach) | (d.reach == 0))
        return self._module(d.module(0), tokens, self.feature(taps), place, seen)

    def step(self, tokens: Array, parents: list[int], states: Floats) -> Floats:
        """`tokens` [n]: guesses that join the tree, all equally far from its root; `parents`: the
        numbers of their parents (guesses count from 0 as they join, -1 is the last known token);
        `states` [n, dim]: those of the parents. The guesses' own states [n, dim]."""
        d, first = self.definition, len(self._ancestors)
        paths = [self._ancestors[p] if p >= 0 else [] for p in parents]
        depth = len(paths[0]) + 1
        self._ancestors += [[*path, first + i] for i, path in enumerate(paths)]
        place = np.full(len(tokens), self._known - 1 + depth)
        seen = np.zeros((len(tokens), self._known + len(self._ancestors)), bool)
        back = place[:, None] - np.arange(self._known)
        seen[:, : self._known] = (back < d.reach) | (d.reach == 0)
        for i in range(len(tokens)):
            seen[i, self._known + np.array(self._ancestors[first + i])] = True
        return self._module(d.module(depth), tokens, states, place, seen)

    def logits(self, states: Floats) -> Floats:
        """[n, draft_vocab]: of each token of `vocabulary` as the next one."""
        normed = _unit(states, self._epsilon) * self._gain
        return np.asarray(normed @ self._head.T, np.float32)

    def heads(self, taps: Floats) -> Floats:
        """The states of medusa's heads [heads, dim], from the residual streams [taps, dim] at the
        token before the last known one."""
        d, w = self.definition, self._w
        feature = self.feature(taps[None])[0]
        inputs = _unit(feature, d.epsilon) if d.norms else feature
        names = [f"module.{m}.fc" for m in range(d.modules)]
        return np.stack([feature + _silu(w[n] @ inputs + w[n + ".bias"]) for n in names])

    def _module(self, m: int, tokens: Array, features: Floats, place: Array, seen: Array) -> Floats:
        """One module at positions `place`, its keys added to the cache. `seen` [n, keys]."""
        d, at = self.definition, f"module.{m}."
        w = {name: self._w[at + name] for name in (*MATRICES, "fc.bias", "norm")}
        embedding = self._embed[tokens]
        if d.norms:
            embedding, features = _unit(embedding, d.epsilon), _unit(features, d.epsilon)
        z = np.concatenate([embedding, features], 1) @ w["fc"].T + w["fc.bias"]
        n = len(z)
        query = self._rotate((z @ w["q"].T).reshape(n, d.heads, d.head_dim), place)
        key = self._rotate((z @ w["k"].T).reshape(n, d.kv_heads, d.head_dim), place)
        value = (z @ w["v"].T).reshape(n, d.kv_heads, d.head_dim)
        self._keys = np.concatenate([self._keys, key])
        self._values = np.concatenate([self._values, value])
        groups = d.heads // d.kv_heads
        keys, values = self._keys.repeat(groups, 1), self._values.repeat(groups, 1)
        scores = np.einsum("nhd,khd->hnk", query, keys) / math.sqrt(d.head_dim)
        scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hnk,khd->nhd", weights, values).reshape(n, -1)
        s = z + mixed @ w["o"].T
        normed = _unit(s, d.epsilon) * w["norm"]
        inner = _silu(normed @ w["gate"].T) * (normed @ w["up"].T)
        return np.asarray(s + inner @ w["down"].T, np.float32)

    def _rotate(self, x: Array, place: Array) -> Floats:
        """Rotary positions on [n, heads, head_dim], pairs (i, i + half)."""
        half = self.definition.head_dim // 2
        frequency = self.definition.rope_theta ** (-np.arange(half) / half)
        angle = place[:, None, None] * frequency
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
