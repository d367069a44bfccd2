"""Choose a `Recipe` for a checkpoint by running it in floating point on a calibration text.

torch is imported inside the functions. What comes out are integers, so that a recipe can be stored
and the model made from it anywhere, without torch and with the same identity.
"""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from lmc.errors import Unsupported
from lmc.models.checkpoint import Checkpoint
from lmc.models.floatnet import FloatNet, Weights
from lmc.models.quantize import BALANCE_STEPS, Progress, Recipe, rotate
from lmc.models.tokenizer import Tokenizer, TokenTable, prepare

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 256  # tokens of one calibration sequence
WINDOWS = 8
HEADROOM = 4.0  # how much larger than on the calibration text the residual stream may become
RESIDUAL_LIMIT = 16383.0  # of the integer network's residual stream
STRIDE = 3  # every third token, the first of a text among them, decides the balance
STEPS = 100  # of the gradient descent for each layer


def sequences(checkpoint: Checkpoint, windows: int) -> list[Tensor]:
    """Token sequences (original ids) of the calibration text, taken evenly from all of it."""
    import torch

    text = (files("lmc.models") / "data" / "calibration.txt").read_bytes()
    json, spelled = prepare(checkpoint.tokenizer_json, checkpoint.shape.vocab, checkpoint.specials)
    table = TokenTable.of(spelled)
    original = {token: i for i, token in reversed(list(enumerate(spelled)))}
    ids = np.array([table_index(table, token) for token in spelled], np.int32)
    found = Tokenizer(table, json.encode(), ids).encode(text).tolist()
    back = [original[table.tokens[i]] for i in found if table.tokens[i] in original]
    starts = np.linspace(0, max(0, len(back) - WINDOW), windows).astype(int)
    return [torch.tensor(back[start : start + WINDOW]) for start in starts.tolist()]


def table_index(table: TokenTable, token: bytes) -> int:
    """The sorted id of a byte string, -1 for the empty one."""
    import bisect

    return bisect.bisect_left(table.tokens, token) if token else -1


def _balance(hidden: Tensor, down: Tensor) -> list[int]:
    """For each hidden channel the exponent, in steps of 2^(1 / BALANCE_STEPS), that makes the
    rounding noise behind `down` least.

    `hidden` [tokens, channels] is the float input, `down` [outputs, channels] the matrix. With the
    input divided by f and the columns multiplied by it, the noise of an output is to a constant

        max_j (h_j / f_j)^2  sum_j (w_j f_j)^2   +   max_j (w_j f_j)^2  sum_j (h_j / f_j)^2

    (8-bit activations, one scale a token; 8-bit weights, one scale a row), summed over tokens and
    rows. Its logarithm is smooth enough in log f for plain gradient descent.
    """
    import torch

    h, w = hidden.square().clamp_min(1e-30), down.square().clamp_min(1e-30)
    weight = 1 / (h @ w.sum(0))  # relative noise, else loud tokens would outvote all others
    weight = weight * torch.where(weight < weight.median() / 1000, len(h) / 20, 1.0)
    log = torch.zeros(h.shape[1], requires_grad=True)
    adam = torch.optim.Adam([log], lr=0.05)
    for _ in range(STEPS):
        f = (2 * log).exp()
        a, b = h / f, w * f
        noise = (weight * (a.amax(1) * b.sum() + b.amax(1).sum() * a.sum(1))).sum()
        adam.zero_grad()
        noise.log().backward()
        adam.step()
    steps = (log.detach() - log.detach().median()) / math.log(2) * BALANCE_STEPS
    return [int(step) for step in steps.round().tolist()]


def calibrate(checkpoint: Checkpoint, progress: Progress = lambda _line: None) -> Recipe:
    """The recipe for `checkpoint`. Raises Unsupported where torch is not installed."""
    try:
        import torch
    except ImportError as error:
        raise Unsupported(
            "calibrating a checkpoint needs torch", hint="pip install 'lmc[train]'"
        ) from error
    hidden: dict[str, list[Tensor]] = {}
    largest = 0.0

    def site(name: str, x: Tensor) -> Tensor:
        nonlocal largest
        if name.endswith(".down"):
            hidden.setdefault(name, []).append(x[torch.arange(len(x)) % STRIDE == 0])
        if name == "residual":
            largest = max(largest, float(np.abs(rotate(x.double().numpy())).max()))
        return x

    net = FloatNet(checkpoint.shape, Weights(checkpoint), site)
    texts = sequences(checkpoint, WINDOWS)
    candidates = sorted(checkpoint.specials)[:4] or [0]
    progress("choosing the token that begins a text")
    if len(candidates) > 1:
        tried = [(ids, first) for first in candidates for ids in texts[:2]]
        found = net.losses([ids for ids, _ in tried], [first for _, first in tried])
        nats = dict.fromkeys(candidates, 0.0)
        for (_, first), losses in zip(tried, found, strict=True):
            nats[first] += float(losses.sum())
        begin = min(candidates, key=lambda first: nats[first])
    else:
        begin = candidates[0]
    hidden.clear()
    progress("calibrating")
    with torch.inference_mode():
        net.hidden([torch.cat([torch.tensor([begin]), ids[:-1]]) for ids in texts])
    balance = []
    for i in range(checkpoint.shape.layers):
        progress(f"balancing layer {i + 1} of {checkpoint.shape.layers}")
        name = f"layers.{i}.down"
        down = rotate(checkpoint.tensor(name).T.astype(np.float64)).T
        balance.append(
            _balance(torch.cat(hidden.pop(name)), torch.from_numpy(down.astype(np.float32)))
        )
    residual = max(0, math.ceil(math.log2(largest * HEADROOM / RESIDUAL_LIMIT)))
    return Recipe(begin, residual, balance)
