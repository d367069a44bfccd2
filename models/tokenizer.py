"""Text to token ids and back, without loss for any bytes.

Only the encoder splits text; a decoder joins the byte strings of the tokens. So every
tokenization whose byte strings concatenate to the input is right, and the rest is a matter of
size: what the checkpoint's tokenizer would do where that reproduces the bytes, the longest token
that matches where it does not, single bytes where the input is no text. The usual tokenizers are
run natively (kernels/src/merges.hpp), others by the Hugging Face library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, Unsupported

if TYPE_CHECKING:
    from lmc.kernels._native import Merges, Vocabulary

Ids = npt.NDArray[np.int32]

CHUNK = 1 << 16  # characters handed to the tokenizer at once: bounds its memory and its worst case
BATCH = 32  # chunks in flight
SHORTEST_TEXT = 8  # shorter stretches between bytes that are no text are coded as bytes

# Bytes that are not UTF-8 decode to these code points under "surrogateescape".
_TEXT = re.compile(f"[^\udc80-\udcff]{{{SHORTEST_TEXT},}}")


def _gpt2_alphabet() -> dict[str, int]:
    """The 256 printable characters that stand for bytes in byte-level vocabularies (GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    table.update({chr(256 + i): byte for i, byte in enumerate(rest)})
    return table


def _parts(node: Any) -> list[dict[str, Any]]:
    """A tokenizers component and, for a Sequence, all its parts."""
    if not isinstance(node, dict):
        return []
    inner = node.get("pretokenizers") or node.get("decoders") or node.get("normalizers") or []
    return [node] + [part for child in inner for part in _parts(child)]


def prepare(tokenizer_json: str, vocab: int, specials: frozenset[int]) -> tuple[str, list[bytes]]:
    """Make a checkpoint's tokenizer fit for lossless coding.

    Returns the tokenizer without whatever rewrites or decorates text (normalizers, prefix spaces,
    added tokens, templates, truncation), and the byte string of each of the `vocab` original ids,
    empty for those that stand for no text. Raises Unsupported for what is neither byte-level BPE
    nor BPE with byte fallback, Corrupt for nonsense.
    """
    try:
        tree = json.loads(tokenizer_json)
        model, added = tree["model"], tree.get("added_tokens") or []
        if model["type"] != "BPE":
            raise Unsupported(f"lmc imports BPE tokenizers, not {model['type']!r}")
        names = {int(i): str(token) for token, i in model["vocab"].items()}
        for token in added:
            names.pop(int(token["id"]), None)
            if not token.get("special") and token["id"] not in specials:
                names[int(token["id"])] = str(token["content"])
        literal = {int(token["id"]) for token in added}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Corrupt("the tokenizer is malformed") from error
    byte_level = any(
        part.get("type") == "ByteLevel"
        for part in _parts(tree.get("pre_tokenizer")) + _parts(tree.get("decoder"))
    )
    for part in _parts(tree.get("pre_tokenizer")):
        if part.get("type") == "ByteLevel":
            part["add_prefix_space"] = False
        elif part.get("type") == "Metaspace":
            part["prepend_scheme"] = "never"
    spaces = not byte_level and any(
        part.get("type") in ("Replace", "Metaspace")
        for key in ("normalizer", "pre_tokenizer", "decoder")
        for part in _parts(tree.get(key))
    )
    tree["normalizer"] = (
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"} if spaces else None
    )
    tree.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
    alphabet = _gpt2_alphabet()

    def spell(i: int) -> bytes:
        if i not in names or i in specials:
            return b""
        name = names[i]
        if i in literal:
            return name.encode()
        if byte_level:
            if all(char in alphabet for char in name):
                return bytes(alphabet[char] for char in name)
            return b""
        if re.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes([int(name[3:5], 16)])
        return (name.replace("▁", " ") if spaces else name).encode("utf-8", "surrogatepass")

    return json.dumps(tree, ensure_ascii=False), [spell(i) for i in range(vocab)]


class TokenTable:
    """The byte strings of ids 0..V-1: sorted, distinct, none empty, all single bytes included."""

    def __init__(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.uint32]) -> None:
        """`data`: the strings one after the other; `offsets`: V + 1 bounds. Raises Corrupt unless
        the table is as promised."""
        from lmc.kernels._native import Vocabulary

        if offsets.ndim != 1:
            raise Corrupt("the token table's offsets are no list")
        try:  # which checks the promises
            self.vocabulary = Vocabulary(data, offsets)
        except ValueError as error:
            raise Corrupt(str(error)) from error
        self.data, self.offsets = data, offsets
        (single,) = np.nonzero(np.diff(offsets) == 1)
        self.of_byte = np.empty(256, np.int32)
        self.of_byte[data[offsets[single]]] = single

    @cached_property
    def tokens(self) -> list[bytes]:
        """The byte strings, by id."""
        whole = self.data.tobytes()
        return [whole[a:b] for a, b in pairwise(self.offsets.tolist())]

    @classmethod
    def of(cls, tokens: Iterable[bytes]) -> TokenTable:
        """The table of these byte strings, sorted, with the missing single bytes added."""
        ordered = sorted(set(tokens) - {b""} | {bytes([byte]) for byte in range(256)})
        lengths = np.array([len(token) for token in ordered], np.uint64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)
        return cls(np.frombuffer(b"".join(ordered), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def join(self, ids: Ids) -> bytes:
        """The bytes that `ids` stand for."""
        tokens = self.tokens
        return b"".join([tokens[i] for i in ids.tolist()])

    def ends(self, ids: Ids) -> npt.NDArray[np.int64]:
        """How many bytes `ids` stand for up to each of them, itself included."""
        return np.cumsum(np.diff(self.offsets)[ids], dtype=np.int64)


# The regular expressions that cut texts into pieces and are known natively: contractions or not,
# and how many numbers are a piece. GPT-2's own comes with the ByteLevel pre-tokenizer.
_SUCCESSOR = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENGLISH = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_SUCCESSORS = {
    before + _SUCCESSOR % times: (bool(before), numbers)
    for before in ("", _ENGLISH)
    for times, numbers in (("", 1), ("{1,2}", 2), ("{1,3}", 3))
}


def _rules(pre_tokenizer: Any) -> dict[str, Any] | None:
    """The native rules that cut like a byte-level pre-tokenizer; None if there are none."""
    match [part for part in _parts(pre_tokenizer) if part.get("type") != "Sequence"]:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return {"gpt2": True, "contractions": True, "numbers": 0}
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ]:
            return {"gpt2": True, "contractions": True, "numbers": 1}
        case [
            {"type": "Split", "pattern": {"Regex": str(regex)}, "behavior": "Isolated"} as split,
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ] if regex in _SUCCESSORS and not split.get("invert"):
            contractions, numbers = _SUCCESSORS[regex]
            return {"gpt2": False, "contractions": contractions, "numbers": numbers}
    return None


def _merges(tokenizer_json: bytes, vocabulary: Vocabulary) -> Merges | None:
    """The tokenizer as the kernels run it; None if they cannot. Raises Corrupt for nonsense."""
    from lmc.kernels._native import Merges

    try:
        tree = json.loads(tokenizer_json)
        model = tree["model"]
        rules = _rules(tree.get("pre_tokenizer"))
        odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
        if model["type"] != "BPE" or rules is None or tree.get("normalizer"):
            return None
        if tree.get("added_tokens") or any(model.get(name) for name in odd):
            return None
        pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"])
        lines = "\n".join(pairs).encode()
        return Merges(vocabulary, lines, **rules, whole=bool(model.get("ignore_merges")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Corrupt("the model's tokenizer is malformed") from error


class _Library:
    """A tokenizer as the Hugging Face library runs it."""

    def __init__(self, tokenizer_json: bytes, ids: Ids) -> None:
        from tokenizers import Tokenizer as HfTokenizer

        try:
            self._tokenizer = HfTokenizer.from_buffer(tokenizer_json)
        except Exception as error:  # the library raises bare exceptions
            raise Corrupt(f"the model's tokenizer does not load: {error}") from error
        if self._tokenizer.get_vocab_size() > len(ids):
            raise Corrupt("the model's tokenizer does not fit its token table")
        self._ids = ids
        self._turn = Lock()

    def encode(self, texts: list[bytes]) -> list[Ids]:
        """Ids of UTF-8 texts, which may spell something else."""
        # The library uses all cores by itself: in turns, the first of many frames are done soon.
        with self._turn:
            found = self._tokenizer.encode_batch_fast(
                [text.decode() for text in texts], add_special_tokens=False
            )
        return [self._ids[np.array(encoding.ids, np.int64)] for encoding in found]


class Tokenizer:
    """Splits bytes into ids of a `TokenTable`, for encoding."""

    def __init__(self, table: TokenTable, tokenizer_json: bytes, ids: Ids) -> None:
        """`ids`: original id -> id in the table, -1 for ids that must not occur."""
        if len(ids) and ids.max() >= len(table):
            raise Corrupt("the model's tokenizer does not fit its token table")
        self.table = table
        native = _merges(tokenizer_json, table.vocabulary)
        self._by = native or _Library(tokenizer_json, ids)
        self._index: dict[bytes, int] = {}
        self._lengths: dict[int, list[int]] = {}

    def encode(self, data: bytes | memoryview) -> Ids:
        """Ids whose byte strings concatenate to `data`, for every `data`.

        Takes about 16 times the size of `data` in memory at its worst, and time linear in it.
        """
        text = str(data, "utf-8", "surrogateescape")
        pieces: list[Ids] = []
        batch: list[bytes] = []
        end = 0
        for match in _TEXT.finditer(text):
            if match.start() > end:
                pieces += self._texts(batch)
                batch = []
                pieces.append(self._raw(text[end : match.start()]))
            end = match.end()
            for chunk in _chunks(text, match.start(), end):
                batch.append(chunk.encode())
                if len(batch) == BATCH:
                    pieces += self._texts(batch)
                    batch = []
        pieces += self._texts(batch)
        pieces.append(self._raw(text[end:]))
        return np.concatenate(pieces)

    def _raw(self, text: str) -> Ids:
        """One id a byte; `text` is short or no text, so the tokenizer could not do better."""
        raw = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        return self.table.of_byte[raw]

    def _texts(self, chunks: list[bytes]) -> list[Ids]:
        found = self._by.encode(chunks) if chunks else []
        return [self._checked(chunk, ids) for chunk, ids in zip(chunks, found, strict=True)]

    def _checked(self, data: bytes, ids: Ids) -> Ids:
        """`ids` if they spell `data`; else the longest matching tokens."""
        return ids if self.table.vocabulary.spells(ids, data) else self.greedy(data)

    def greedy(self, data: bytes) -> Ids:
        """The longest token that matches, again and again; a single byte always does."""
        if not self._index:
            lengths: dict[int, set[int]] = {}
            for token in self.table.tokens:
                lengths.setdefault(token[0], set()).add(len(token))
            # At once, and what is asked for last: other threads may be here.
            self._lengths = {byte: sorted(found, reverse=True) for byte, found in lengths.items()}
            self._index = {token: i for i, token in enumerate(self.table.tokens)}
        index, out, at = self._index, [], 0
        while at < len(data):
            for length in self._lengths[data[at]]:
                found = index.get(data[at : at + length])
                if found is not None:
                    out.append(found)
                    at += len(self.table.tokens[found])
                    break
        return np.array(out, np.int32)


def _chunks(text: str, start: int, stop: int) -> Iterable[str]:
    """Cut `text[start:stop]` to at most CHUNK characters, after a line or before a space if one
    is near, so that few tokens are cut in two."""
    while stop - start > CHUNK:
        low, high = start + CHUNK // 2, start + CHUNK
        cut = text.rfind("\n", low, high) + 1
        while cut and cut < high and text[cut].isspace():  # keep runs of blank lines together
            cut += 1
        if not cut:
            cut = text.rfind(" ", low, high)
        if cut <= low:
            cut = high
        yield text[start:cut]
        start = cut
    yield text[start:stop]
