"""A tokenizer for the corpus, and the corpus as streams of tokens.

    python -m lmc.models.train.split learn CORPUS TOKENIZER.json --vocabulary N [--sample BYTES]
    python -m lmc.models.train.split apply CORPUS TOKENIZER OUT

TOKENIZER is a tokenizer.json, or a GGUF file whose tokenizer is wanted. Ours is byte-level BPE.
Token ids everywhere in training are those of the sorted token table (lmc.models.tokenizer), the id
after the last one separates documents. A stream is OUT/<category>.npy, uint16.
"""

from __future__ import annotations

import argparse
import json
import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmc.models.gguf import GgufCheckpoint
from lmc.models.tokenizer import Tokenizer, TokenTable, prepare
from lmc.models.train.corpus import END

# Words with the space before them, numbers of up to three digits, runs of signs, runs of white
# space: the split of recent vocabularies, so that tokens end where words do.
PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LONGEST = 24  # bytes of a token
BATCH = 16  # pieces handed to a process at once


def learn(corpus: Path, vocabulary: int, sample: int, shares: dict[str, float]) -> str:
    """The tokenizer, learned from `sample` bytes in all, categories by their shares."""
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as HfTokenizer

    whole = HfTokenizer(models.BPE())
    whole.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    whole.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=LONGEST,
        show_progress=False,
    )
    texts = []
    total = sum(shares.values())
    for category, share in shares.items():
        data = (corpus / category).read_bytes()[: int(sample * share / total)]
        texts += [piece.decode("utf-8", "ignore") for piece in data.split(END)]
    whole.train_from_iterator(texts, trainer)
    return str(whole.to_str())


def load(path: Path) -> tuple[TokenTable, Tokenizer]:
    """The sorted token table and the tokenizer that splits into its ids."""
    if path.suffix == ".gguf":
        checkpoint = GgufCheckpoint(path)
        size, specials = checkpoint.shape.vocab, checkpoint.specials
        text, spelled = prepare(checkpoint.tokenizer_json, size, specials)
    else:
        size = len(json.loads(path.read_text())["model"]["vocab"])
        text, spelled = prepare(path.read_text(), size, frozenset())
    table = TokenTable.of(spelled)
    place = {token: i for i, token in enumerate(table.tokens)}
    ids = np.array([place.get(token, -1) for token in spelled], np.int32)
    return table, Tokenizer(table, text.encode(), ids)


_state: list[tuple[TokenTable, Tokenizer]] = []  # of a worker process


def _prepare(tokenizer: Path) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are parallel already
    _state.append(load(tokenizer))


def _ids(pieces: list[bytes]) -> npt.NDArray[np.uint16 | np.uint32]:
    table, tokenizer = _state[0]
    parts = []
    for piece in pieces:
        parts += [tokenizer.encode(piece), np.array([len(table)], np.int32)]
    return np.concatenate(parts).astype(np.uint16 if len(table) < 1 << 16 else np.uint32)


def apply(corpus: Path, tokenizer: Path, out: Path) -> None:
    """Write the token streams of all categories of `corpus` and of its held-out documents."""
    with get_context("spawn").Pool(initializer=_prepare, initargs=(tokenizer,)) as pool:
        for folder, target in ((corpus, out), (corpus / "held-out", out / "held-out")):
            target.mkdir(parents=True, exist_ok=True)
            for path in sorted(item for item in folder.iterdir() if item.is_file()):
                pieces = path.read_bytes().split(END)
                batches = [pieces[at : at + BATCH] for at in range(0, len(pieces), BATCH)]
                ids = np.concatenate(pool.map(_ids, batches, chunksize=1))
                np.save(target / path.name, ids)
                print(json.dumps({"stream": str(target / path.name), "tokens": len(ids)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["learn", "apply"])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--vocabulary", type=int, default=16384)
    parser.add_argument("--sample", type=int, default=100 << 20)
    parser.add_argument("--mixture", type=Path, default=Path(__file__).parent / "mixture.json")
    args = parser.parse_args()
    if args.what == "learn":
        shares = json.loads(args.mixture.read_text())
        shares = {name: share for name, share in shares.items() if (args.corpus / name).exists()}
        args.tokenizer.write_text(learn(args.corpus, args.vocabulary, args.sample, shares))
    else:
        apply(args.corpus, args.tokenizer, args.out)


if __name__ == "__main__":
    main()
