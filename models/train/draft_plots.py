"""Pictures of a study of drafts: python -m lmc.models.train.draft_plots STUDY.jsonl FOLDER

A line of STUDY is what lmc.models.train.prism_eval measured of a draft, beside its name, its target
and the tokens that it saw. FOLDER gets drafts-trees.png (tokens per pass by the tree's size),
drafts-kinds.png (trees of 16, by kind) and drafts-data.png (by different tokens).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

CATEGORIES = ("prose", "code", "markup", "logs")
SHIPPED = {"smollm2-135m.draft": "-", "lmc-small.draft": "--"}
KINDS = (
    "eagle2", "hass", "prism", "prism-published", "hass, three taps", "eagle3, three taps",
    "prism, three taps",
)  # fmt: skip
DATA = (1, 2, 4, 8)  # million different tokens; the last is all of them


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    runs = [json.loads(line) for line in args.study.read_text().splitlines()]
    of = {run["name"]: run["tokens_per_pass"] for run in runs}

    def save(axes: Any, name: str, x: str) -> None:
        axes.set_xlabel(x)
        axes.set_ylabel("tokens per pass")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.figure.tight_layout()
        axes.figure.savefig(args.folder / name)

    _, axes = pyplot.subplots(figsize=(7, 4.5), dpi=100)
    for name, line in SHIPPED.items():
        for i, category in enumerate(CATEGORIES):
            sizes = of[name][category]
            label = f"{category}, {name}"
            axes.plot([int(n) for n in sizes], list(sizes.values()), f"C{i}{line}", label=label)
    axes.set_xscale("log", base=2)
    save(axes, "drafts-trees.png", "guesses in the tree")

    _, axes = pyplot.subplots(figsize=(7, 4.5), dpi=100)
    for i, category in enumerate(CATEGORIES):
        places = [k + 0.2 * i for k in range(len(KINDS))]
        axes.bar(places, [of[kind][category]["16"] for kind in KINDS], 0.2, label=category)
    axes.set_xticks([k + 0.3 for k in range(len(KINDS))], KINDS, rotation=20, fontsize=8)
    save(axes, "drafts-kinds.png", "8 million tokens seen, trees of 16 guesses, smollm2-135m")

    _, axes = pyplot.subplots(figsize=(7, 4.5), dpi=100)
    for kind, line in (("hass", "--"), ("prism", "-")):
        for i, category in enumerate(CATEGORIES):
            steps = [of[kind if n == DATA[-1] else f"{kind}-x{n}"][category]["16"] for n in DATA]
            axes.plot(DATA, steps, f"C{i}o{line}", label=f"{category}, {kind}")
    axes.set_xscale("log", base=2)
    save(axes, "drafts-data.png", "million different tokens (8: all), of 8 million seen")


if __name__ == "__main__":
    main()
