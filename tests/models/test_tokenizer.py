"""Tokenization loses nothing, whatever the bytes."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmc.errors import Corrupt
from lmc.kernels._native import Merges, Vocabulary
from lmc.models import registry
from lmc.models.checkpoint import HfCheckpoint
from lmc.models.tokenizer import CHUNK, Tokenizer, TokenTable, _Library, prepare


def build(tokenizer_json: str, vocab: int, specials: frozenset[int]) -> Tokenizer:
    text, spelled = prepare(tokenizer_json, vocab, specials)
    table = TokenTable.of(spelled)
    place = {token: i for i, token in enumerate(table.tokens)}
    return Tokenizer(
        table, text.encode(), np.array([place.get(token, -1) for token in spelled], np.int32)
    )


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Tokenizer:
    checkpoint = HfCheckpoint(tiny)
    return build(checkpoint.tokenizer_json, checkpoint.shape.vocab, checkpoint.specials)


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    """A Llama-2-like vocabulary: byte fallback, and a normalizer that decorates text."""
    pieces = ["<unk>", "<s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += ["▁", "a", "b", "▁a", "ab", "▁ab", "e", "é"]
    tree = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": i,
                "content": pieces[i],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i in range(2)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [["▁", "a"], ["a", "b"], ["▁a", "b"]],
        },
    }
    return build(json.dumps(tree), len(pieces), frozenset((0, 1)))


HARD = [
    b"",
    b"\0",
    bytes(range(256)) * 3,
    "naïve café, Ωμέγα, 日本語, 🙂🏳️‍🌈".encode(),
    b"<|endoftext|> is text here, and <|im_start|> too",
    b"cut in the middle of a character: \xe2\x82",
    b"\xed\xa0\x80 a surrogate, \xf5\x80\x80\x80 beyond Unicode, \xc0\x80 overlong",
    "the sign ▁ itself and ab ▁ab  ab".encode(),
    "e\u0301 must not be composed, nor \ufb01 taken apart".encode(),
    b"\r\n \n\t\n   trailing   \n\n",
]


@pytest.mark.parametrize("data", HARD, ids=range(len(HARD)))
@pytest.mark.parametrize("which", ["tokenizer", "sentencepiece"])
def test_hard_cases_come_back(data: bytes, which: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(which)
    assert tokenizer.table.join(tokenizer.encode(data)) == data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.table.join(tokenizer.encode(memoryview(data))) == data
    assert tokenizer.table.join(tokenizer.greedy(data)) == data


def test_what_tokens_spell_is_known(tokenizer: Tokenizer) -> None:
    data = b"tokens spell this"
    table = Vocabulary(tokenizer.table.data, tokenizer.table.offsets)
    ids = tokenizer.encode(data)
    assert table.spells(ids, data)
    assert table.spells(ids[:0], b"")
    for other in (data + b"s", data[:-1], b"T" + data[1:], b""):
        assert not table.spells(ids, other)
    for wrong in (-1, len(table), -(2**31), 2**31 - 1):
        assert not table.spells(np.array([*ids, wrong], np.int32), data)


def test_text_is_split_as_the_checkpoint_does(tokenizer: Tokenizer, tiny: Path, text: str) -> None:
    from tokenizers import Tokenizer as HfTokenizer

    theirs = HfTokenizer.from_file(str(tiny / "tokenizer.json"))
    assert len(tokenizer.encode(text.encode())) == len(theirs.encode(text).ids)


def test_spaces_become_tokens_in_sentencepiece(sentencepiece: Tokenizer) -> None:
    ids = sentencepiece.encode(b"ab ab ab ab ab ab")
    assert [sentencepiece.table.tokens[i] for i in ids] == [b"ab", *[b" ab"] * 5]


@pytest.mark.parametrize(
    "data",
    [b"a" * 400_000, b" " * 400_000, b"\n" * 400_000, b"\xffabcdefg" * 40_000, b"ab\xfe" * 100_000],
    ids=["letters", "spaces", "lines", "stretches", "scraps"],
)
def test_time_stays_linear(tokenizer: Tokenizer, data: bytes) -> None:
    start = time.process_time()
    assert tokenizer.table.join(tokenizer.encode(data)) == data
    assert time.process_time() - start < 8


def test_chunks_lose_nothing(tokenizer: Tokenizer, text: str) -> None:
    data = (text * (3 * CHUNK // len(text) + 1)).encode()
    assert tokenizer.table.join(tokenizer.encode(data)) == data


def test_a_table_that_breaks_its_promises_is_refused() -> None:
    good = TokenTable.of([b"ab", b"abc"])
    assert len(good) == 258
    offsets = good.offsets.copy()
    offsets[5] = offsets[4]
    with pytest.raises(Corrupt, match="empty"):
        TokenTable(good.data, offsets)
    data = good.data.copy()
    data[0] = 9
    with pytest.raises(Corrupt, match="sorted"):
        TokenTable(data, good.offsets)
    with pytest.raises(Corrupt, match="offsets"):
        TokenTable(good.data[:-1], good.offsets)


# ---- the native tokenizer ----

ENGLISH = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
SUCCESSOR = (
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(regex: str) -> dict[str, object]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def byte_level(*, use_regex: bool) -> dict[str, object]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


CUTS = {
    "gpt2": [byte_level(use_regex=True)],
    "digits": [{"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)],
    "llama3": [split(ENGLISH + SUCCESSOR), byte_level(use_regex=False)],
    "qwen2": [split(ENGLISH + SUCCESSOR.replace("{1,3}", "")), byte_level(use_regex=False)],
    "tiny": [split(SUCCESSOR), byte_level(use_regex=False)],
}


def both(changes: dict[str, object], of_model: dict[str, object]) -> tuple[Tokenizer, Tokenizer]:
    """lmc-small's tokenizer with other parts: native, and by the library."""
    model = registry.open_model("lmc-small")
    tree = json.loads(model.tensors["tokenizer.json"].tobytes())
    tree |= changes
    tree["model"] |= of_model
    text, ids = json.dumps(tree).encode(), model.tensors["tokenizer.ids"]
    native, library = (Tokenizer(model.table, text, ids) for _ in range(2))
    library._by = _Library(text, ids)
    assert isinstance(native._by, Merges)
    return native, library


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("cut", CUTS)
def test_native_tokens_are_the_librarys(cut: str, whole: bool, text: str) -> None:
    native, library = both(
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": CUTS[cut]}},
        {"ignore_merges": whole},
    )
    chance = random.Random(3)
    letters = "aZ  \t\n\r'sſStTlLeErRvVdDmM.,;-0123٣½Ⅳàéñ中文\u3000\u00a0\u0085\u2028\u0301🙂"
    samples = [
        text,
        "".join(chance.choices(letters, k=100_000)),
        "it's we'LL 'ſ 12345 \r\n\n x  y \t",
    ]
    samples.append("".join(chr(c) for c in range(32, 0x3000)))
    samples.append("antidisestablishmentarianism" * 50 + " " * 99 + "." * 99)  # long pieces
    for sample in samples:
        data = sample.encode()
        np.testing.assert_array_equal(native.encode(data), library.encode(data))


@pytest.mark.parametrize(
    ("changes", "of_model"),
    [
        ({"pre_tokenizer": None}, {}),
        ({"pre_tokenizer": {"type": "Whitespace"}}, {}),
        ({"pre_tokenizer": split("[a-z]+")}, {}),
        ({"normalizer": {"type": "NFC"}}, {}),
        ({}, {"byte_fallback": True}),
        ({}, {"dropout": 0.1}),
    ],
)
def test_other_tokenizers_are_left_to_the_library(
    changes: dict[str, object], of_model: dict[str, object]
) -> None:
    with pytest.raises(AssertionError):
        both(changes, of_model)


def test_a_byte_without_a_token_of_the_checkpoint_does_no_harm() -> None:
    """SmolLM2 has none for some control characters: only those are bytes, not the text around."""
    model = registry.open_model("lmc-small")
    tree = json.loads(model.tensors["tokenizer.json"].tobytes())
    del tree["model"]["vocab"]["Ā"]  # GPT-2's name of 0
    text, ids = json.dumps(tree).encode(), model.tensors["tokenizer.ids"]
    data = b"the data of the section\0and more of the text"
    assert len(Tokenizer(model.table, text, ids).encode(data)) == len(model.tokenizer.encode(data))


def test_texts_that_are_none_come_back_from_the_native_tokenizer() -> None:
    model = registry.open_model("lmc-tiny")
    native = model.tokenizer._by
    for data in (b"\x80abc", b"\xe2\x82", b"a\xf4\x90\x80\x80b", b"\xff" * 50, b"\xc3(", b""):
        (ids,) = native.encode([data])
        assert model.table.join(ids) == data


def test_nonsense_is_no_tokenizer() -> None:
    model = registry.open_model("lmc-tiny")
    ids = model.tensors["tokenizer.ids"]
    for text in (b"", b"{}", b"[]", b'{"model": 3}', b"\xff"):
        with pytest.raises(Corrupt):
            Tokenizer(model.table, text, ids)
    tree = json.loads(model.tensors["tokenizer.json"].tobytes())
    for merges in ([["a"]], ["ab"], [3], "ab", [None]):
        tree["model"]["merges"] = merges
        with pytest.raises(Corrupt):
            Tokenizer(model.table, json.dumps(tree).encode(), ids)
    with pytest.raises(Corrupt):
        Tokenizer(model.table, model.tensors["tokenizer.json"].tobytes(), ids + 1)


def test_of_a_merge_that_is_listed_twice_the_last_counts() -> None:
    model = registry.open_model("lmc-tiny")
    tree = json.loads(model.tensors["tokenizer.json"].tobytes())
    first, second = ["h", "e"], ["t", "h"]  # of "the": whichever comes first
    text = []
    for merges in ([first, second], [first, second, first]):
        tree["model"]["merges"] = merges
        text.append(json.dumps(tree).encode())
    native = [Tokenizer(model.table, t, model.tensors["tokenizer.ids"]) for t in text]
    library = [_Library(t, model.tensors["tokenizer.ids"]) for t in text]
    ids = [n._by.encode([b"the"])[0].tolist() for n in native]
    assert ids == [by.encode([b"the"])[0].tolist() for by in library]
    assert ids[0] != ids[1]


def test_a_tokenizer_without_a_pre_tokenizer_is_the_librarys() -> None:
    model = registry.open_model("lmc-tiny")
    tree = json.loads(model.tensors["tokenizer.json"].tobytes())
    for name in ("pre_tokenizer", "normalizer", "added_tokens"):
        del tree[name]
    made = Tokenizer(model.table, json.dumps(tree).encode(), model.tensors["tokenizer.ids"])
    assert isinstance(made._by, _Library)


def test_many_short_stretches_of_text_take_little_time() -> None:
    tokenizer = registry.open_model("lmc-tiny").tokenizer
    stretches = [b"the text"] * 20_000
    started = time.process_time()
    for stretch in stretches:
        tokenizer._by.encode([stretch])
    assert time.process_time() - started < 0.2  # a table of words for each, cleared: .3 s
