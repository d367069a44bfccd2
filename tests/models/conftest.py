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


@pytest.fixture(scope="session")
def tiny_gguf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as llama.cpp's converter writes it: Q and K rows interleaved."""
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    from lmc.models.checkpoint import HfCheckpoint

    checkpoint, path = HfCheckpoint(tiny), tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(SIZES["layers"])
    writer.add_context_length(256)
    writer.add_embedding_length(SIZES["dim"])
    writer.add_feed_forward_length(SIZES["hidden"])
    writer.add_head_count(SIZES["heads"])
    writer.add_head_count_kv(SIZES["kv_heads"])
    writer.add_key_length(SIZES["head_dim"])
    writer.add_value_length(SIZES["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokenizer = json.loads((tiny / "tokenizer.json").read_text("utf-8"))
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
    for i in range(SIZES["layers"]):
        ours, theirs = f"layers.{i}.", f"blk.{i}."
        for part, heads in (("q", SIZES["heads"]), ("k", SIZES["kv_heads"])):
            rows = interleaved(checkpoint.tensor(f"{ours}{part}.weight"), heads)
            writer.add_tensor(f"{theirs}attn_{part}.weight", rows)
        for a, b in (
            ("v.weight", "attn_v"),
            ("out", "attn_output"),
            ("attn_norm", "attn_norm"),
            ("ffn_norm", "ffn_norm"),
            ("gate", "ffn_gate"),
            ("up", "ffn_up"),
            ("down", "ffn_down"),
        ):
            writer.add_tensor(f"{theirs}{b}.weight", checkpoint.tensor(ours + a))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
