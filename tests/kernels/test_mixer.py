"""The byte models: C++ (AVX2 and plain) against the Python integers, and against their coder."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lmc.kernels import _native, reference_mixer

TEXT = (
    b"The byte models learn from what they have seen: a word, a line, a record.\n"
    b"The byte models learn from what they have seen, and a long match says more.\n"
    b'{"id": 1, "name": "alpha"}\n{"id": 2, "name": "beta"}\n{"id": 3, "name": "gamma"}\n'
)
Script = list[tuple[int, int, int, int]]


def binary_records(n: int) -> bytes:
    rng = np.random.default_rng(1)
    record = np.zeros((n, 12), np.uint8)
    record[:, 0] = 7
    record[:, 2] = np.arange(n)
    record[:, 5:8] = rng.integers(0, 6, (n, 3))
    record[:, 11] = 255
    return record.tobytes()


SAMPLES = {
    "empty": b"",
    "one": b"x",
    "text": TEXT,
    "records": binary_records(40),
    "equal": b"\0" * 300,
    "random": np.random.default_rng(2).bytes(200),
    "mixed": binary_records(10) + TEXT[:120] + "naïve – ünïcödé".encode() + bytes(range(256)),
}


def byte_script(data: bytes) -> Script:
    script: Script = []
    for c in data:
        script.append((0, 0, 0, 0))
        script += [(1, c >> k & 1, 1 << 23, 1 << 23) for k in range(7, -1, -1)]
    return script


def token_script(lanes: list[bytes], seed: int) -> Script:
    """Tokens of one to five bytes, lane after lane, as a network-driven walk would code them."""
    rng = np.random.default_rng(seed)
    places = [0] * len(lanes)

    def nets(bit: int) -> tuple[int, int]:
        lean = rng.choice([0.02, 0.3, 0.5, 0.8, 0.999, 1 - 2**-22], 2)
        ones = [int((1 << 24) * (p if bit else 1 - p)) for p in lean]
        a, b = (min(max(p, 1), (1 << 24) - 1) for p in ones)
        return a, b

    script: Script = []
    while any(p < len(d) for p, d in zip(places, lanes, strict=True)):
        for lane, data in enumerate(lanes):
            token = data[places[lane] : places[lane] + int(rng.integers(1, 6))]
            if not token:
                continue
            for i, c in enumerate(token):
                script.append((0, lane, i > 0, 0))
                if i > 0 and rng.random() < 0.7:
                    script.append((2, 0, *nets(0)))
                forced = int(rng.integers(0, 9)) if rng.random() < 0.4 else 0
                for k in range(7, -1, -1):
                    bit = c >> k & 1
                    script.append((3, bit, 0, 0) if k < forced else (1, bit, *nets(bit)))
            if rng.random() < 0.5:
                script += [(0, lane, 1, 0), (2, 1, *nets(1))]
            script.append((4, lane, sum(token) * 7 % 49152, 0))
            places[lane] += len(token)
    return script


@pytest.mark.parametrize("profile", [1, 2, 3])
@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_equal_the_reference(name: str, profile: int) -> None:
    data = SAMPLES[name]
    script = byte_script(data)
    expected = reference_mixer.replay(profile, [len(data)], script)
    for scalar in (False, True):
        assert _native.mixer_replay(profile, [len(data)], script, scalar) == expected


@pytest.mark.parametrize("profile", [4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_network_mode_equals_the_reference(seed: int, profile: int) -> None:
    # Lane 1 is empty; lane 2 repeats lane 0, so matches cross lanes and reach their written ends.
    lanes = [TEXT, b"", TEXT[:150] + binary_records(8), SAMPLES["random"][:30]]
    ends = np.cumsum([len(d) for d in lanes]).tolist()
    script = token_script(lanes, seed)
    expected = reference_mixer.replay(profile, ends, script)
    for scalar in (False, True):
        assert _native.mixer_replay(profile, ends, script, scalar) == expected


@pytest.mark.parametrize("profile", range(1, 6))
def test_what_was_learned_is_a_start(profile: int) -> None:
    make = byte_script if profile < 4 else lambda data: token_script([data], 3)
    learned = _native.mixer_replay(profile, [len(TEXT)], make(TEXT), learn=True)
    other = TEXT[40:160] + binary_records(12)
    script, ends = make(other), [len(other)]
    expected = reference_mixer.replay(profile, ends, script, learned)
    for scalar in (False, True):
        assert _native.mixer_replay(profile, ends, script, scalar, learned) == expected
    assert _native.mixer_replay(profile, ends, script) != expected
    wild = np.random.default_rng(7).integers(0, 1 << 32, len(learned), np.uint32).tolist()
    expected = reference_mixer.replay(profile, ends, script, wild)
    assert _native.mixer_replay(profile, ends, script, start=wild) == expected
    with pytest.raises(ValueError, match="another plan"):
        _native.mixer_replay(profile, ends, script, start=learned[1:])


def test_lanes_that_start_together_do_not_look_ahead() -> None:
    # The same steps in lane 0, whatever lane 1 will hold later.
    first = token_script([TEXT[:60]], 5)
    ends = [60, 60 + len(TEXT)]
    alone = _native.mixer_replay(4, ends, first)
    both = _native.mixer_replay(4, ends, [*first, (0, 1, 0, 0)])
    assert alone == both


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_variants_agree_on_longer_data(profile: int) -> None:
    data = (TEXT * 20 + binary_records(300) + np.random.default_rng(3).bytes(3000))[:12000]
    script = byte_script(data)
    plain = _native.mixer_replay(profile, [len(data)], script, True)
    assert _native.mixer_replay(profile, [len(data)], script, False) == plain


def test_network_variants_agree_on_longer_data() -> None:
    lanes = [TEXT * 5, binary_records(60) + TEXT]
    ends = np.cumsum([len(d) for d in lanes]).tolist()
    script = token_script(lanes, 9)
    plain = _native.mixer_replay(4, ends, script, True)
    assert _native.mixer_replay(4, ends, script, False) == plain


@pytest.mark.parametrize("profile", [1, 2, 3])
@pytest.mark.parametrize("name", [n for n in SAMPLES if n != "empty"])
def test_what_is_coded_comes_back(name: str, profile: int) -> None:
    data = SAMPLES[name] * 20
    payload = _native.encode_bytes(profile, data)
    assert _native.decode_bytes(profile, payload, len(data)) == data
    bits = _native.byte_code_length(data, profile)
    assert bits / 8 - 5 <= len(payload) <= bits / 8 + 9  # zeros at the end are not written


def test_scalar_by_environment_writes_the_same_bytes() -> None:
    code = (
        "import sys; from lmc.kernels import _native\n"
        "sys.stdout.buffer.write(_native.encode_bytes(2, sys.stdin.buffer.read()))"
    )
    data = TEXT * 10
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=data, capture_output=True, check=True, env={**os.environ, "LMC_KERNELS": "scalar"},
    )  # fmt: skip
    assert run.stdout == _native.encode_bytes(2, data)


def test_it_learns() -> None:
    for profile, most in ((1, 1.6), (2, 1.5), (3, 1.5)):
        assert _native.byte_code_length(TEXT * 8, profile) / len(TEXT * 8) < most
        assert _native.byte_code_length(SAMPLES["equal"] * 50, profile) / 15000 < 0.02
        noise = np.random.default_rng(4).bytes(20000)
        assert _native.byte_code_length(noise, profile) / 20000 < 8.1


def test_probabilities_stay_inside() -> None:
    # The network is as sure as it can be, and wrong every time.
    step = [(0, 0, 0, 0)] + [(1, 0, (1 << 24) - 1, (1 << 24) - 1)] * 8
    out = _native.mixer_replay(4, [400], step * 400)
    assert min(out) >= 16
    assert max(out) <= (1 << 24) - 16


def test_wrong_steps_are_refused() -> None:
    begin = (0, 0, 0, 0)
    for script in (
        [(1, 0, 1, 1)],
        [begin, (1, 2, 1, 1)],
        [begin, (1, 0, 0, 1)],
        [begin, begin],
        [(0, 1, 0, 0)],
        [(9, 0, 0, 0)],
        byte_script(b"ab"),
    ):
        with pytest.raises(ValueError, match=r"a bit|a lane|no such kind"):
            _native.mixer_replay(2, [1], script)
    for ends in ([], [3, 2]):
        with pytest.raises(ValueError, match="lane"):
            _native.mixer_replay(2, ends, [])
    with pytest.raises(ValueError, match="profile"):
        _native.mixer_replay(6, [1], [])
