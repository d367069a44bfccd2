"""Training documents from files of text.

    python -m lmc.models.train.corpus OUT SOURCE… --keep-out BENCH…

A source is a file named <category>__<origin>, or a folder of such files. A zero byte in one ends a
document. Documents are cut into pieces of at most 64 KB at line ends; a piece is dropped when it
repeats an earlier one or shares text with a file that must be kept out, so that figures quoted on
those files are of unseen text. OUT gets a file for each category, its pieces shuffled and joined by
zero bytes; every 256th piece goes to OUT/held-out instead, for the validation loss.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

PIECE = 64 << 10
SHINGLE = 12  # words that make a shared passage
SPARSE = 8  # one passage in eight is looked at, the same ones wherever it stands
SHARED, SHARE = 25, 0.2  # looked-at passages in common with kept-out files that condemn a piece: a
# licence of 200 words does not, a page does; in a short piece, a fifth of it
HELD_OUT = 256
WORD = re.compile(rb"[A-Za-z0-9]+")
END = b"\0"


def passages(data: bytes) -> Iterator[int]:
    """Hashes of runs of SHINGLE words; where one begins depends on its first two words alone."""
    words = WORD.findall(data.lower())
    for at in range(len(words) - SHINGLE + 1):
        if crc32(words[at + 1], crc32(words[at])) % SPARSE == 0:
            yield crc32(b" ".join(words[at : at + SHINGLE]))


def pieces(document: bytes) -> Iterator[bytes]:
    """Cut at line ends, or anywhere where there are none."""
    at = 0
    while len(document) - at > PIECE:
        end = document.rfind(b"\n", at + PIECE // 2, at + PIECE) + 1 or at + PIECE
        yield document[at:end]
        at = end
    yield document[at:]


def files(sources: Iterable[Path]) -> Iterator[Path]:
    """The files of the sources, in the order of their names."""
    for source in sources:
        yield from sorted(source.rglob("*__*")) if source.is_dir() else [source]


class Filter:
    """Drops pieces that were seen before or must not be seen."""

    def __init__(self, kept_out: Iterable[bytes]) -> None:
        self._forbidden = {value for data in kept_out for value in passages(data)}
        self._seen: set[int] = set()

    def passes(self, piece: bytes) -> bool:
        """Whether the piece may be trained on; it counts as seen from then on."""
        if len(piece) < 64:
            return False
        found = list(passages(piece)) or [crc32(piece)]
        shared = sum(passage in self._forbidden for passage in found)
        if shared > min(SHARED, SHARE * len(found)):
            return False
        again = sum(passage in self._seen for passage in found)
        self._seen.update(found)
        return 2 * again < len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--keep-out", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    bench = [path for root in args.keep_out for path in [root, *root.rglob("*")] if path.is_file()]
    gate = Filter(path.read_bytes() for path in bench)
    kept: dict[str, list[bytes]] = {}
    dropped: Counter[str] = Counter()
    for path in files(args.sources):
        category = path.name.partition("__")[0]
        for document in path.read_bytes().split(END):
            for piece in pieces(document):
                if gate.passes(piece):
                    kept.setdefault(category, []).append(piece)
                else:
                    dropped[category] += len(piece)
    held_out = args.out / "held-out"
    held_out.mkdir(parents=True, exist_ok=True)
    for category, found in sorted(kept.items()):
        random.Random(0).shuffle(found)
        held = [piece for piece in found if crc32(piece) % HELD_OUT == 0] or found[:1]
        rest = [piece for piece in found if crc32(piece) % HELD_OUT] or found
        (args.out / category).write_bytes(END.join(rest))
        (held_out / category).write_bytes(END.join(held))
        size = sum(map(len, rest))
        print(json.dumps({"category": category, "bytes": size, "dropped": dropped[category]}))


if __name__ == "__main__":
    main()
