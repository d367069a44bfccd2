"""`lmc models pull OWNER/NAME` against a server on this machine that answers like the hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlparse

import pytest

from lmc.errors import ModelMissing, Unsupported, Usage
from lmc.models import hub
from lmc.models.modelfile import read_card

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """The folder that the server serves: OWNER/NAME/files."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def endpoint(repositories: Path) -> Iterator[str]:
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            path = urlparse(self.path).path.strip("/")
            if path.startswith("api/models/"):
                self.describe(path.removeprefix("api/models/").split("/revision/")[0], body)
                return
            repository, _, rest = path.partition("/resolve/")
            file = repositories / repository / rest.partition("/")[2]
            if not file.is_file():
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
                return
            data = file.read_bytes()
            tag = f'"{hashlib.sha1(data).hexdigest()}"'
            self.reply(200, data, {"X-Repo-Commit": COMMIT, "ETag": tag}, body)

        def describe(self, repository: str, body: bool) -> None:
            folder = repositories / repository
            if not folder.is_dir():
                self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
                return
            files = [
                {"rfilename": file.name, "size": file.stat().st_size, "blobId": "0" * 40}
                for file in sorted(folder.iterdir())
            ]
            about: dict[str, Any] = {
                "id": repository, "modelId": repository, "sha": COMMIT, "private": False,
                "gated": False, "disabled": False, "tags": ["license:mit"], "downloads": 1,
                "likes": 1, "siblings": files, "cardData": {"license": "apache-2.0"},
            }  # fmt: skip
            kind = {"Content-Type": "application/json"}
            self.reply(200, json.dumps(about).encode(), kind, body)

        def reply(self, code: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def lmc(endpoint: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    own = {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "LMC_HOME": str(tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": "", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-m", "lmc", "models", *words]
    return subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_model_is_pulled_by_its_id(
    repositories: Path, endpoint: str, tmp_path: Path, tiny: Path
) -> None:
    shutil.copytree(tiny, repositories / "someone" / "Tiny-Llama")
    (repositories / "someone" / "Tiny-Llama" / "pytorch_model.bin").write_bytes(b"a pickle")
    run = lmc(endpoint, tmp_path, "pull", "someone/Tiny-Llama", "--json")
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)["models"][0]
    assert made["name"] == "tiny-llama"
    assert made["licence"] == "apache-2.0"
    assert made["source"] == f"someone/Tiny-Llama@{COMMIT[:12]}"
    assert read_card(tmp_path / "models" / "tiny-llama.safetensors").identity == made["identity"]
    assert "someone/Tiny-Llama: licence apache-2.0, 3 files, " in run.stderr
    assert "bits per byte" in run.stderr
    assert f"identity {made['identity']}" in run.stderr
    assert not list((tmp_path / "hf").rglob("pytorch_model.bin"))


def test_the_best_gguf_file_is_taken(
    repositories: Path, endpoint: str, tmp_path: Path, tiny_gguf: Path
) -> None:
    folder = repositories / "someone" / "Tiny-GGUF"
    folder.mkdir(parents=True)
    (folder / "tiny-Q2_K.gguf").write_bytes(b"nothing that anybody should read")
    shutil.copy(tiny_gguf, folder / "tiny-Q8_0.gguf")
    run = lmc(endpoint, tmp_path, "pull", "someone/Tiny-GGUF", "--name", "mine", "-q")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert (tmp_path / "models" / "mine.safetensors").exists()
    run = lmc(endpoint, tmp_path, "pull", "someone/Tiny-GGUF:tiny-Q2_K.gguf")
    assert run.returncode != 0
    assert "is not a GGUF file" in run.stderr


def test_what_cannot_be_had_is_one_line(repositories: Path, endpoint: str, tmp_path: Path) -> None:
    (repositories / "someone" / "Empty").mkdir(parents=True)
    nowhere = "http://127.0.0.1:9"  # nothing listens at discard
    for place, name, message in (
        (endpoint, "someone/None", "Hugging Face has no someone/None"),
        (endpoint, "someone/Empty", "nothing to read"),
        (nowhere, "someone/Tiny-Llama", "cannot download someone/Tiny-Llama"),
    ):
        run = lmc(place, tmp_path, "pull", name)
        assert run.returncode != 0, run.stderr
        assert message in run.stderr
        assert "Traceback" not in run.stderr
        assert len([line for line in run.stderr.splitlines() if line.startswith("lmc: ")]) == 1
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("files", "file", "chosen"),
    [
        ("config.json tokenizer.json model.safetensors x.gguf", None, "model.safetensors"),
        ("config.json tokenizer.json model-1.safetensors model-2.safetensors "
         "model.safetensors.index.json consolidated.safetensors", None,
         "model.safetensors.index.json model-1.safetensors model-2.safetensors"),
        ("config.json model.safetensors a.Q4_K_M.gguf a.Q6_K.gguf", None, "a.Q6_K.gguf"),
        ("a-q4_0.gguf", None, "a-q4_0.gguf"),
        ("a.Q4_K_M.gguf a.Q8_0.gguf", "a.Q4_K_M.gguf", "a.Q4_K_M.gguf"),
    ],
)  # fmt: skip
def test_choice_of_files(files: str, file: str | None, chosen: str) -> None:
    found = hub._choose("a/b", dict.fromkeys(files.split(), 1), file)
    assert [name for name in found if name not in hub.NEEDED] == chosen.split()


def test_no_choice() -> None:
    with pytest.raises(Usage, match="say which"):
        hub._choose("a/b", {"a-q2_k.gguf": 1, "a-q3_k.gguf": 1}, None)
    with pytest.raises(ModelMissing, match="has no b"):
        hub._choose("a/b", {"a.gguf": 1}, "b.gguf")
    with pytest.raises(Unsupported, match=r"tokenizer\.json"):
        hub._choose("a/b", {"config.json": 1, "model.safetensors": 1}, None)


@pytest.mark.parametrize(
    ("name", "short"),
    [("Qwen/Qwen2.5-0.5B", "qwen2.5-0.5b"), ("a/b:Model.Q8_0.gguf", "model.q8_0")],
)
def test_ids(name: str, short: str) -> None:
    assert hub.is_id(name)
    assert hub.short_name(name) == short


@pytest.mark.parametrize(
    "name", ["lmc-large", "a/b/c", "../b", "/etc", "a/..", "a/b:c", "a/b:../c"]
)
def test_what_is_no_id(name: str) -> None:
    assert not hub.is_id(name)
    with pytest.raises(Usage):
        hub.short_name(name)
