"""Drafts: from a target to a measured file, in small, and the reference against the trainer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmc.errors import Corrupt, ModelMissing
from lmc.models import prism
from lmc.models.checkpoint import Shape
from lmc.models.safetensors import Safetensors

torch = pytest.importorskip("torch", reason="torch is not installed")

VOCAB, DIM, LAYERS = 300, 64, 3
SHAPE = Shape(
    dim=DIM, layers=LAYERS, heads=2, kv_heads=1, head_dim=32, hidden=96, vocab=VOCAB, context=64,
    rope_theta=10000.0, epsilon=1e-5, tied=True, reach=(8, 0, 0),
)  # fmt: skip
RECIPE: dict[str, Any] = {
    "mixture": {"books": 2, "code": 1}, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden": 96,
    "vocabulary": 150, "taps": (0, 1, 2), "norms": True, "reach": 0, "unroll": 3, "test_steps": 4,
    "first": 0.5, "feature": 1.0, "soft": 0.1, "hard": 1.0, "seen": 40 * 8 * 32, "warmup": 5,
    "decay": 0.5, "rows": 8, "part": 4, "length": 32, "matrix_rate": 0.02, "matrix_decay": 0.1,
    "rate": 0.01, "second": 1.0, "seed": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def target() -> Any:
    from lmc.models.train.target import Target

    rng = np.random.default_rng(1)
    query = SHAPE.heads * SHAPE.head_dim
    sizes = {"qkv": (2 * query, DIM), "out": (DIM, query), "gate_up": (192, DIM), "down": (DIM, 96)}
    weights = {"embed": rng.normal(size=(VOCAB + 1, DIM)), "final_norm": 1 + rng.random(DIM)}
    weights["head"] = weights["embed"][:VOCAB] * 0.2
    for i in range(LAYERS):
        for name, size in sizes.items():
            weights[f"layers.{i}.{name}"] = rng.normal(size=size) * 0.1
        for name in ("attn_norm", "ffn_norm"):
            weights[f"layers.{i}.{name}"] = 1 + rng.random(DIM)
    return Target(SHAPE, weights, "cpu", rotated=True, identity="of a test", source="this test")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streams of a text that can be guessed: each token mostly decides the next."""
    folder = tmp_path_factory.mktemp("tokens")
    rng = np.random.default_rng(2)
    follow = rng.integers(0, 200, 200)
    for name in ("books", "code"):
        ids = [1]
        for _ in range(4000):
            lost = rng.random() < 0.1
            ids.append(int(rng.integers(0, 200)) if lost else int(follow[ids[-1]]))
        ids[1000] = VOCAB  # the end of a document
        np.save(folder / f"{name}.npy", np.array(ids, np.uint16))
    return folder


def trained(target: Any, tokens: Path, out: Path, kind: str, **changes: Any) -> Path:
    from lmc.models.train.prism import Recipe, train

    return train(Recipe(**{**RECIPE, **changes}), kind, target, [tokens], out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", prism.KINDS)
def test_training_helps_and_the_file_drafts(
    target: Any, tokens: Path, tmp_path: Path, kind: str
) -> None:
    from lmc.models.train.prism_eval import measure

    path = trained(target, tokens, tmp_path, kind, taps=(2,) if kind == "hass" else (0, 1, 2))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[2]["nats"][0] < 0.8 * log[1]["nats"][0]
    draft = prism.read(path)
    d = draft.definition
    assert (d.modules, d.steps) == {"prism": (2, (0, 1)), "medusa": (4, (0, 1, 2, 3))}.get(
        kind, (1, (0,))
    )
    assert len(draft.vocabulary) == 150
    found = measure(draft, target, tokens, rows=2, length=60, depth=4, width=5)["books"]
    assert found["tree"]["16"] > 1.05 * found["tree"]["1"] > 1.05
    assert found["top10"][0] >= found["top1"][0]


@pytest.mark.parametrize(("norms", "reach", "taps"), [(True, 0, (0, 1, 2)), (False, 6, (2,))])
def test_reference_is_what_was_trained(
    target: Any, tokens: Path, tmp_path: Path, norms: bool, reach: int, taps: tuple[int, ...]
) -> None:
    """A chain through `Drafter`, whose context keys are module 0's, against the unrolled forward
    and a tree's other branches, which must change nothing."""
    from lmc.models.train.prism_eval import opened, scores

    path = trained(
        target, tokens, tmp_path, "prism", norms=norms, reach=reach, taps=taps, seen=8 * 8 * 32
    )
    draft = prism.read(path)
    net = opened(draft, target)
    x = torch.from_numpy(np.load(tokens / "books.npy")[None, 200:232].astype(np.int64))
    fed = torch.cat([torch.full_like(x[:, :1], VOCAB), x[:, :-1]], 1)
    streams, _ = target.streams(fed, taps)
    steps = 4
    with torch.no_grad():
        wanted = net.unroll(x, net.feature(streams), steps, False)
        logs = [scores(net, s)[0].numpy() for s in wanted]
    arrays = (target.embed.numpy(), target.final_norm.numpy(), target.head.numpy())
    drafter = prism.Drafter(draft, *arrays, SHAPE.epsilon)
    ids, taps_of = x[0].numpy(), streams[0].numpy()
    at = 0
    for known in (1, 9, 10, 20):
        states = drafter.extend(ids[at:known], taps_of[at:known])
        assert np.allclose(states, wanted[0][0, at:known], atol=2e-3)
        at = known
        state, parent = states[-1:], -1
        for j in range(1, steps):
            stray = (ids[known + j - 1] + 7) % VOCAB  # a sibling
            both = drafter.step(
                np.array([stray, ids[known + j - 1]]), [parent, parent], np.repeat(state, 2, 0)
            )
            state, parent = both[1:], 2 * j - 1
            logits = drafter.logits(state)[0]
            got = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            assert np.allclose(got, logs[j][known - 1], atol=5e-3)
    assert drafter.definition.module(5) == 1


def test_context_keys_are_those_of_module_0(target: Any, tokens: Path, tmp_path: Path) -> None:
    """Module 1's key matrix changes what later steps make of their own keys, not of the context:
    without guesses in between, a step sees the context and itself alone."""
    path = trained(target, tokens, tmp_path, "prism", seen=8 * 8 * 32)
    draft = prism.read(path)
    arrays = (target.embed.numpy(), target.final_norm.numpy(), target.head.numpy())
    rng = np.random.default_rng(3)
    taps = rng.normal(size=(6, 3, DIM)).astype(np.float32)
    found = []
    for name in ("module.1.k.scale", "module.0.k.scale", "module.1.v.scale"):
        changed = prism.Draft(draft.definition, {**draft.tensors, name: draft.tensors[name] * 0})
        drafter = prism.Drafter(changed, *arrays, SHAPE.epsilon)
        drafter.extend(np.arange(6), taps)
        drafter.step(np.array([3]), [-1], taps[:1, 0])
        found.append((drafter._keys.copy(), drafter._values.copy()))
    assert found[0][0][:6].any()
    assert not found[0][0][6].any()
    assert found[1][0][6].any()
    assert not found[1][0][:6].any()
    assert found[2][1][:6].any()
    assert not found[2][1][6].any()


@pytest.mark.parametrize("reach", [0, 5])
def test_trees_are_those_of_the_reference(
    target: Any, tokens: Path, tmp_path: Path, reach: int
) -> None:
    from lmc.models.train.prism_eval import opened, tree_ranks

    draft = prism.read(trained(target, tokens, tmp_path, "prism", reach=reach))
    net = opened(draft, target)
    x = torch.from_numpy(np.load(tokens / "code.npy")[None, 100:120].astype(np.int64))
    fed = torch.cat([torch.full_like(x[:, :1], VOCAB), x[:, :-1]], 1)
    streams, _ = target.streams(fed, (0, 1, 2))
    depth, width = 3, 4
    with torch.no_grad():
        ranks = tree_ranks(net, x, net.feature(streams[:, :-1]), depth, width)[0].numpy()
    arrays = (target.embed.numpy(), target.final_norm.numpy(), target.head.numpy())
    ids = x[0].numpy()
    for start in range(len(ranks)):
        drafter = prism.Drafter(draft, *arrays, SHAPE.epsilon)
        states = drafter.extend(ids[: start + 1], streams[0, : start + 1].numpy())[-1:]
        frontier, likelihood = [-1], np.zeros(1)
        paths: list[tuple[int, ...]] = [()]
        nodes: dict[tuple[int, ...], float] = {}
        joined = 0
        for j in range(depth):
            logits = drafter.logits(states)
            logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            found = []
            for row, path, before in zip(logs, paths, likelihood, strict=True):
                best = np.argsort(-row)[:width]
                found += [(before + row[i], (*path, int(draft.vocabulary[i]))) for i in best]
            nodes.update({path: value for value, path in found})
            chosen = sorted(found, reverse=True)[:width]
            parent = [paths.index(path[:-1]) for _, path in chosen]
            if j + 1 < depth:
                last = np.array([path[-1] for _, path in chosen])
                states = drafter.step(last, [frontier[p] for p in parent], states[parent])
            frontier = list(range(joined, joined + len(chosen)))
            joined += len(chosen)
            paths, likelihood = [p for _, p in chosen], np.array([v for v, _ in chosen])
        for j in range(depth):
            value = nodes.get(tuple(ids[start + 1 : start + 2 + j].tolist()))
            want = (
                1 << 30 if value is None else sum(other > value + 1e-4 for other in nodes.values())
            )
            assert abs(int(ranks[start, j]) - want) <= 1


def test_medusa_reference(target: Any, tokens: Path, tmp_path: Path) -> None:
    from lmc.models.train.prism_eval import opened

    draft = prism.read(trained(target, tokens, tmp_path, "medusa", seen=8 * 8 * 32))
    arrays = (target.embed.numpy(), target.final_norm.numpy(), target.head.numpy())
    taps = np.random.default_rng(4).normal(size=(3, DIM)).astype(np.float32)
    with torch.no_grad():
        net = opened(draft, target)
        wanted = torch.stack(net.head_states(net.feature(torch.from_numpy(taps))))
    assert np.allclose(prism.Drafter(draft, *arrays, 1e-5).heads(taps), wanted, atol=1e-4)


def test_gradients_of_the_chunked_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.functional import cross_entropy

    from lmc.models.train import prism as trainer

    monkeypatch.setattr(trainer, "CHUNK", 10)
    torch.manual_seed(0)
    steps, n, dim, vocab = 2, 13, 8, 20
    states, head = torch.randn(steps, n, dim), torch.randn(vocab, dim)
    teacher = torch.randn(n, dim), torch.randn(vocab, dim)
    labels = torch.randint(0, vocab, (n,))
    labels[3] = -1
    weights = torch.rand(steps, n)
    weights[1, 0] = 0

    def plain(x: Any, w: Any) -> Any:
        logits = x @ w.T
        q = (teacher[0] @ teacher[1].T).softmax(-1)
        soft = torch.stack([cross_entropy(part, q, reduction="none") for part in logits])
        hard = [cross_entropy(p, labels, ignore_index=-1, reduction="none") for p in logits]
        return (weights * (0.3 * soft + 0.7 * torch.stack(hard))).sum()

    function: Any = trainer._cross_entropy().apply
    got: list[Any] = []
    want: list[Any] = []
    both: list[tuple[list[Any], Any]] = [
        (got, lambda x, w: function(x, w, labels, weights, teacher, 0.3, 0.7)[0]),
        (want, plain),
    ]
    for out, loss in both:
        x, w = states.clone().requires_grad_(), head.clone().requires_grad_()
        value = loss(x, w)
        (2 * value).backward()
        out += [value.detach(), x.grad, w.grad]
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_limits_and_vocabulary(tokens: Path) -> None:
    from lmc.models.train.prism import Recipe, frequent, limited
    from lmc.models.train.run import Streams

    streams = Streams([tokens], "cpu")
    assert limited(streams, Recipe(**RECIPE), 900) == 900
    assert streams.ranges == {"books": (0, 600), "code": (4001, 4301)}
    ids = frequent(streams, VOCAB, 20)
    assert (np.diff(ids) > 0).all()
    assert ids.max() < 200


def a_draft(tmp_path: Path) -> tuple[Path, prism.Definition, dict[str, Any]]:
    d = prism.Definition(
        kind="prism", target="x", dim=8, heads=2, kv_heads=1, head_dim=4, hidden=12,
        rope_theta=10000.0, epsilon=1e-5, reach=0, taps=(1, 2), modules=2, steps=(0, 1), norms=True,
        vocab=40, draft_vocab=30, own_head=False, licence="", source="",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    floats: dict[str, Any] = {name: rng.normal(size=size) for name, size in d.matrices().items()}
    floats.update({name: rng.normal(size=d.dim) for name in d.vectors()})
    path = tmp_path / f"a{prism.SUFFIX}"
    prism.write(path, d, floats, np.arange(5, 35))
    return path, d, floats


def test_file_and_its_rounding(tmp_path: Path) -> None:
    path, d, floats = a_draft(tmp_path)
    draft = prism.read(path)
    assert draft.definition == d
    assert draft.vocabulary.tolist() == list(range(5, 35))
    for name, array in draft.floats().items():
        assert np.abs(array - floats[name]).max() < np.abs(floats[name]).max() / 200
    whole = replace(d, draft_vocab=40)
    prism.write(path, whole, floats, np.arange(40))
    assert prism.read(path).vocabulary.tolist() == list(range(40))
    with pytest.raises(ModelMissing):
        prism.read(tmp_path / "absent")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"heads": 3},
        {"heads": "4"},
        {"norms": 1},
        {"dim": 0},
        {"modules": 1},
        {"taps": []},
        {"taps": [-1]},
        {"steps": [0, 2]},
        {"draft_vocab": 41},
        {"draft_vocab": 29},
        {"epsilon": 0.0},
        {"rope_theta": float("inf")},
        {"hidden": 13},
        {"reach": -1},
        {"strange": 1},
    ],
)
def test_false_statements_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path, _, _ = a_draft(tmp_path)
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    raw = json.loads(Safetensors(path).metadata["draft"])
    save_file(tensors, path, {"draft": json.dumps({**raw, **change})})
    with pytest.raises(Corrupt) as caught:
        prism.read(path)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path, _, _ = a_draft(tmp_path)
    tensors, metadata = load_file(path), Safetensors(path).metadata
    ids = tensors["vocabulary"]
    for name, array in (
        ("vocabulary", ids[::-1].copy()),
        ("vocabulary", ids + 10),
        ("vocabulary", ids.astype(np.float32)),
        ("fuse.bias", tensors["fuse.bias"] * np.float32("nan")),
        ("module.1.q.weight", tensors["module.1.q.weight"][:, :4].copy()),
        ("stranger", ids),
    ):
        save_file({**tensors, name: array}, path, metadata)
        with pytest.raises(Corrupt):
            prism.read(path)
    save_file({n: t for n, t in tensors.items() if n != "module.0.norm"}, path, metadata)
    with pytest.raises(Corrupt):
        prism.read(path)
    save_file(tensors, path)
    with pytest.raises(Corrupt):
        prism.read(path)
    save_file(tensors, path, metadata)
    data = path.read_bytes()
    for size in (0, 5, 100, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(Corrupt):
            prism.read(path)
