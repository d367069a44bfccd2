"""A tiny Llama with a trained tokenizer, as transformers saves it and as a GGUF file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

TEXT = (
    "It was the first warm evening of the year, and the whole street had come out of doors. "
    "for i in range(10):\n    print(i, values[i] * 2)\n"
    '{"name": "Ada", "born": 1815, "known for": ["notes", "numbers"]}\n'
    "Über den Dächern lag noch Licht; the café was full. 12345 + 678 = 13023\n"
) * 20
SPECIALS = ["<|endoftext|>", "<|im_start|>"]
SIZES = {"dim": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 32, "hidden": 80}


@pytest.fixture(scope="session")
def training() -> Callable[..., str]:
    """Runs a script of lmc.models.train; what it prints."""

    def run(module: str, *arguments: object) -> str:
        command = [sys.executable, "-m", f"lmc.models.train.{module}", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def text() -> str:
    return TEXT


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with config.json, model.safetensors and tokenizer.json."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if c != "ø"]  # one byte is missing
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=SIZES["dim"],
        intermediate_size=SIZES["hidden"],
        num_hidden_layers=SIZES["layers"],
        num_attention_heads=SIZES["heads"],
        num_key_value_heads=SIZES["kv_heads"],
        head_dim=SIZES["head_dim"],
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.rand_like(parameter) * 3 + 0.2)
            else:
                parameter.mul_(6)
    model.save_pretrained(folder)
    return folder


def write_gguf(
    folder: Path, path: Path, kind: str = "llama", packed: str = "F32", *,
    rotated: int = 0, experts: int = 0,
) -> None:  # fmt: skip
    """A Hugging Face directory as llama.cpp's converter writes it: Q and K rows of `llama` and
    `smollm3` interleaved. `packed`: the type of the matrices of the layers."""
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    from lmc.models.checkpoint import NAMES, HfCheckpoint
    from lmc.models.gguf import INTERLEAVED, ROTARY_FACTORS
    from lmc.models.gguf import NAMES as THEIRS

    checkpoint = HfCheckpoint(folder)
    s = checkpoint.shape
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(s.layers)
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.dim)
    writer.add_feed_forward_length(s.hidden)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_key_length(s.head_dim)
    writer.add_value_length(s.head_dim)
    writer.add_rope_dimension_count(rotated or s.head_dim)
    writer.add_expert_count(experts)
    writer.add_rope_freq_base(s.rope_theta)
    writer.add_layer_norm_rms_eps(s.epsilon)
    if s.reach:
        writer.add_sliding_window(max(s.reach))
    if len(set(s.divisors)) > 1:
        writer.add_tensor(ROTARY_FACTORS, np.array(s.divisors, np.float32))
    elif s.divisors:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(s.divisors[0])
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in SPECIALS else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])

    def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
        shape = (heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        return np.ascontiguousarray(rows.reshape(shape).swapaxes(1, 2)).reshape(rows.shape)

    writer.add_tensor("token_embd.weight", checkpoint.tensor("embed"))
    writer.add_tensor("output_norm.weight", checkpoint.tensor("final_norm"))
    for i, name in ((i, name) for i in range(s.layers) for name in NAMES):
        tensor = checkpoint.load(f"layers.{i}.{name}")
        if tensor is None:
            continue
        if kind in INTERLEAVED and name[:2] in ("q.", "k."):
            tensor = interleaved(tensor, s.heads if name[0] == "q" else s.kv_heads)
        if packed == "F32" or tensor.ndim == 1:
            writer.add_tensor(f"blk.{i}.{THEIRS[name]}", tensor)
        else:
            form = gguf.GGMLQuantizationType[packed]
            blocks = gguf.quants.quantize(tensor, form)
            writer.add_tensor(f"blk.{i}.{THEIRS[name]}", blocks, raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def tiny_gguf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a GGUF file."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny, path)
    return path


@pytest.fixture(scope="session")
def to_gguf() -> Callable[..., None]:
    """`write_gguf`."""
    return write_gguf
