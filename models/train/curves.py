"""The log of a run as a picture: python -m lmc.models.train.curves LOG.jsonl… PICTURE.png

Bits per byte of the training rows and of the held-out documents over the tokens seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=100)
    for log in args.logs:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        steps = [line for line in lines if "bits_per_byte" in line]
        per_step = steps[0]["tokens"] / steps[0]["step"] if steps else 0
        name = log.stem
        axes.plot(
            [line["tokens"] / 1e6 for line in steps],
            [line["bits_per_byte"] for line in steps],
            label=f"{name}, training",
            linewidth=0.8,
        )
        checks = [line for line in lines if "mean" in line]
        axes.plot(
            [line["step"] * per_step / 1e6 for line in checks],
            [line["mean"] for line in checks],
            "o",
            label=f"{name}, held out (mean of categories)",
        )
    axes.set_xlabel("million tokens")
    axes.set_ylabel("bits per byte")
    axes.set_ylim(top=2.2)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(args.picture)


if __name__ == "__main__":
    main()
