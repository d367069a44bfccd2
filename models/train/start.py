"""What mixers begin from, learned on training documents.

    python -m lmc.models.train.start bytes CORPUS START.xz
    python -m lmc.models.train.start network CORPUS MODEL.safetensors

Small files gain most, so the mixers learn on beginnings of documents, one after the other: what the
adaptive probabilities and the weights have become after one document is what they begin the next
one from; hashed histories begin anew. Afterwards the counts are cut, so that a file that is unlike
the corpus is believed soon.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmc.kernels import _native
from lmc.kernels.start import PROFILES
from lmc.models.modelfile import NETWORK_PROFILE, Model, identity, read, revision, write
from lmc.models.train.corpus import END

Numbers = npt.NDArray[np.uint32]

MOST = 255  # of a count: what it is cut to decides little (measured from 30 to 1,022)
WEIGHTS = 255  # of the count of the weights
SIZES = (1 << 10, 1 << 12, 1 << 14)  # of a document's beginning
FROZEN = 1023


def beginnings(corpus: Path, total: int, shares: dict[str, float]) -> list[bytes]:
    """Beginnings of documents, `total` bytes in all, categories by their shares, shuffled."""
    rng = random.Random(1)
    out = []
    for category, share in shares.items():
        path = corpus / category
        if not path.exists():
            continue
        documents = path.read_bytes().split(END)
        left = total * share / sum(shares.values())
        for document in rng.sample(documents, len(documents)):
            if left <= 0:
                break
            out.append(document[: rng.choice(SIZES)])
            left -= len(out[-1])
    rng.shuffle(out)
    return [document for document in out if document]


def cut(start: bytes, profile: int) -> Numbers:
    """The start with its counts cut."""
    numbers = np.frombuffer(start, "<u4").copy()
    assert len(numbers) == _native.start_size(profile)
    numbers[0] = min(int(numbers[0]), WEIGHTS)
    at = _native.start_weights(profile)
    adaptive = numbers[at:]
    count = adaptive & 1023
    adaptive[:] = np.where(
        count == FROZEN, adaptive, adaptive - count + np.minimum(count, np.uint32(MOST))
    )
    return numbers


def of_bytes(documents: list[bytes], profile: int) -> bytes:
    """What a profile's byte models have learned from the documents."""
    start = b""
    for document in documents:
        start = _native.learn_bytes(profile, document, start)
    return cut(start, profile).tobytes()


def of_network(documents: list[bytes], model: Model) -> Numbers:
    """What the mixer beside the model's network has learned from the documents."""
    start: bytes = _native.unlearned(NETWORK_PROFILE)
    network = model.network(0)
    with model.turn():
        for document in documents:
            ids = model.tokenizer.encode(document)
            _, start = _native.encode_network(
                network, model.vocabulary, [len(document)], 1024, 16, ids,
                np.array([len(ids)], np.uint32), start=start, learn=True,
            )  # fmt: skip
    return cut(start, NETWORK_PROFILE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["bytes", "network"])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path, help="the start, or the model that gets one")
    parser.add_argument("--total", type=int, default=5 << 20, help="bytes to learn from")
    parser.add_argument("--mixture", type=Path, default=Path(__file__).parent / "mixture.json")
    args = parser.parse_args()
    documents = beginnings(args.corpus, args.total, json.loads(args.mixture.read_text()))
    if args.what == "bytes":
        whole = b"".join(of_bytes(documents, profile) for profile in PROFILES)
        args.out.write_bytes(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME))
        print(f"{args.out}: {args.out.stat().st_size} bytes", file=sys.stderr)
        return
    model = read(args.out)
    tensors = {**model.tensors, "mixer.start": of_network(documents, model)}
    tensors = {name: np.array(tensor) for name, tensor in tensors.items()}  # not mapped any more
    card = replace(
        model.card,
        arithmetic=revision(tensors),
        identity=identity(model.card.architecture, tensors),
    )
    write(args.out, card, tensors)


if __name__ == "__main__":
    main()
