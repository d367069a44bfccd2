"""A delta as a model that `lmc models pull` makes.

    python -m lmc.models.train.known NAME BASE WEIGHTS DELTA FOLDER [--compare FILE…]

BASE is the known model whose WEIGHTS, the file that its package carries, the delta changes. Writes
FOLDER/NAME.json with the recipe that calibration chooses and the identity that comes out, and
FOLDER/NAME.delta. --compare reports what the integers cost.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from lmc.models.calibrate import calibrate
from lmc.models.delta import SUFFIX, Adapted
from lmc.models.evaluate import compare
from lmc.models.gguf import GgufCheckpoint
from lmc.models.modelfile import Model
from lmc.models.quantize import quantize
from lmc.models.registry import known

TEXT = 20_000  # bytes of a file that are compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("base")
    parser.add_argument("weights", type=Path)
    parser.add_argument("delta", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--compare", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    base = known()[args.base]
    checkpoint = Adapted(GgufCheckpoint(args.weights), args.delta)
    checkpoint.licence, checkpoint.source = base.licence, f"{base.source}, tuned for lmc"
    recipe = calibrate(checkpoint, print)
    card, tensors = quantize(checkpoint, recipe, args.name, print)
    model = Model(card, tensors)
    costs = []
    for path in args.compare:
        report = compare(checkpoint, recipe, model, path.read_bytes()[:TEXT], 0)
        print(f"{path.name}: {report}")
        costs.append(f"{100 * report.loss:+.1f} % on {path.name}")
    entry = replace(
        base,
        name=args.name,
        delta=args.name + SUFFIX,
        identity=card.identity,
        recipe=asdict(recipe),
        source=checkpoint.source,
        note="int8 costs " + ", ".join(costs) + " against the float model" if costs else "",
    )
    pairs = asdict(entry).items()
    lines = [json.dumps({key: value}, separators=(",", ":"))[1:-1] for key, value in pairs]
    (args.folder / f"{args.name}.json").write_text("{" + ",\n".join(lines) + "}\n")
    target = args.folder / entry.delta
    if not (target.exists() and target.samefile(args.delta)):
        shutil.copy(args.delta, target)
        target.chmod(0o644)


if __name__ == "__main__":
    main()
