"""The command line: argv -> Options -> jobs. Only `main` prints errors and exits.

The rules of talking to people:

- results go to standard output, everything else to standard error;
- a message is one line, `lmc: file: what is wrong`, lower case, no full stop, and may be
  followed by `hint: …`, which says what to try;
- exit code 0: all went well; 1: something failed; 2: only warnings (a file was skipped);
  3: a model is missing.

Whatever takes time to import is imported by the job that needs it: `lmc --help` must not
wait for a network.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

import click

from lmc import files
from lmc.codecs.base import CODECS, DEFAULT_LEVEL
from lmc.errors import LmcError, NotLmc, TooMuchMemory, Usage
from lmc.files import STREAM, SUFFIX, Skipped

if TYPE_CHECKING:
    from lmc.kernels._native import Speculation

# Options ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """What one call of lmc was asked to do; made by `parse` without touching any file.

    output: None for a name made from the source's, `-` for standard output.
    source: what becomes of the source: "keep", "remove", or "" (kept, but nobody said so).
    """

    verb: str
    files: tuple[str, ...]
    output: str | None = None
    source: str = ""
    force: bool = False
    recursive: bool = False
    suffix: str = SUFFIX
    quiet: int = 0
    verbose: int = 0
    level: int = DEFAULT_LEVEL
    model: str | None = None
    threads: int = 0
    frame_size: int = 0
    codec: str = "auto"
    pixels: bool = False
    video: str = ""
    frames: bool = False
    lane_size: int = 0
    window: int = 0
    memory: int | None = None
    no_speculate: bool = False
    device: str = "auto"
    json: bool = False

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to standard output."""
        return self.output == STREAM


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What `lmc models ACTION` was asked to do."""

    action: str
    names: tuple[str, ...] = ()
    name: str | None = None
    delta: str | None = None
    quiet: int = 0
    json: bool = False


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What `lmc bench` was asked to do. Levels and names of tools as they were typed, by commas.

    corpora: names; data: the folder that they lie in. limit: bytes of each file. runs: of each
    tool; None for as many as are quick. patience: seconds that coding a file may take.
    jobs: files that tools of one thread are measured on at a time.
    results: the file of results; None for lmc's own. html: the report's file.
    """

    paths: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()
    data: str | None = None
    levels: str = ""
    tools: str = ""
    protocol: str | None = None
    limit: int | None = None
    runs: int | None = None
    patience: int = 3600
    jobs: int = 1
    threads: int = 0
    results: str | None = None
    fresh: bool = False
    html: str | None = None
    csv: bool = False
    quiet: int = 0
    json: bool = False


@dataclass(frozen=True, slots=True)
class SpeculationOptions:
    """What `lmc bench speculate` was asked to do.

    model: its name; None for the largest. drafts: files of draft networks, or "none". limit: bytes
    of each file. runs: of each, both ways.
    """

    paths: tuple[str, ...] = ()
    model: str | None = None
    drafts: tuple[str, ...] = ()
    limit: int = 2500
    runs: int = 3
    threads: int = 0
    device: str = "cpu"
    quiet: int = 0
    json: bool = False


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A number of bytes such as 65536, 512K, 64M, 2G or 2GiB; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().lower().removesuffix("b").removesuffix("i")
        shift = {"k": 10, "m": 20, "g": 30, "t": 40}.get(text[-1:], 0)
        digits = text[:-1] if shift else text
        if not (digits.isascii() and digits.isdigit()):
            self.fail(f"{value!r} is no size; write 512M or 2G", param, ctx)
        return int(digits) << shift


class LevelOption(click.Option):
    """The options -0 … -9, of which the help shows only one line."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.opts != ["-1"]:
            return None
        text = (
            "Level: fastest to smallest; from 3 on with a language model; -0 only stores.  "
            f"[default: -{DEFAULT_LEVEL}]"
        )
        return "-1 ... -9", text


Option = Callable[[Any], Any]  # a decorator that click makes


def _flag(*names: str, help: str) -> Option:
    return click.option(*names, is_flag=True, help=help)


def _choice(name: str, value: str, *names: str, help: str) -> Option:
    """One of several options that exclude each other; the last one given wins."""
    return click.option(*names, name, flag_value=value, default=None, help=help)


def _names(metavar: str, required: bool = False) -> Option:
    return click.argument("names", nargs=-1, required=required, metavar=metavar)


def _in_a_tuple(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[str]:
    return (value,)


_LEVELS = [
    click.option(f"-{level}", "level", cls=LevelOption, flag_value=str(level), default=None)
    for level in range(10)
]
_PACKING = [
    *_LEVELS,
    click.option("--fast", "level", flag_value="1", default=None, hidden=True),
    click.option("--best", "level", flag_value="9", default=None, hidden=True),
    click.option("-m", "--model", metavar="MODEL", help="Use this model (see: lmc models list)."),
    click.option(
        "--codec",
        type=click.Choice(CODECS),
        default=CODECS[0],
        metavar="NAME",
        help=f"One of {', '.join(CODECS)}.  [default: {CODECS[0]}]",
    ),
    _flag("--pixels", help="Keep an image's pixels, not its file: it comes back as a plain PNG."),
    click.option(
        "--video",
        default="",
        metavar="WxH:FMT",
        help="What frames without a header are, as in 176x144:yuv420p:25.",
    ),
    _flag("--frames", help="Keep a video's frames, not its file: it comes back as a Y4M file."),
    click.option(
        "--frame-size",
        type=Size(),
        default=0,
        metavar="SIZE",
        help="Content of one frame.  [default: 4M to 16M, by level]",
    ),
    click.option(
        "--lane-size",
        type=Size(),
        default=0,
        metavar="SIZE",
        help="Content of one lane: small lanes are faster on a GPU.  [default: by level]",
    ),
    click.option(
        "--window",
        type=int,
        default=0,
        metavar="TOKENS",
        help="How far back tokens look: farther is smaller and slower.  [default: by level]",
    ),
]
_UNPACKING = [
    click.option(
        "--memory", type=Size(), metavar="SIZE", help="Refuse files that need more memory."
    ),
    _flag("--no-speculate", help="Guess no tokens ahead: slower, the same result."),
]
_WRITING = [
    click.option("-o", "--output", metavar="FILE", help="Write to FILE (- is standard output)."),
    _flag("-c", "--stdout", help="Write to standard output."),
    _choice("source", "keep", "-k", "--keep", help="Keep the source (as always); follow symlinks."),
    _choice("source", "remove", "--rm", help="Remove the source after success."),
    _flag("-f", "--force", help="Replace files, follow symlinks, write to a terminal."),
]
_QUIET_JSON = [
    click.option("-q", "--quiet", count=True, help="No warnings and progress; -qq: no errors."),
    _flag("--json", help="One JSON document on standard output."),
]
_THREADS = click.option(
    "-T", "--threads", type=int, default=0, metavar="N", help="Threads; 0: one for every core."
)
_COMMON = [
    _flag("-r", "--recursive", help="Take the files in folders."),
    click.option("-S", "--suffix", default=SUFFIX, metavar=".SUF", help="Use .SUF, not .lmc."),
    _THREADS,
    click.option("-v", "--verbose", count=True, help="Say more."),
    *_QUIET_JSON,
]
_DEVICE = [
    click.option(
        "--device",
        default="auto",
        metavar="NAME",
        help="Run networks on auto, cpu, cuda or cuda:0.",
    ),
]
_BENCH = [
    click.option(
        "--corpus",
        "corpora",
        multiple=True,
        metavar="NAME",
        help="Measure on a corpus by name; 'list' shows them.",
    ),
    click.option("--data", metavar="FOLDER", help="Where corpora lie, or are to be put."),
    click.option("--levels", default="", metavar="N,N", help="Levels of lmc.  [default: 6]"),
    click.option("--tools", default="", metavar="NAMES", help="Only these: gzip,zstd,lmc."),
    click.option(
        "--protocol",
        type=click.Choice(["lmcompress"]),
        metavar="NAME",
        help="Chunks as in a paper (lmcompress), beside whole files.",
    ),
    click.option("--limit", type=Size(), metavar="SIZE", help="Only the beginning, but of media."),
    click.option(
        "--runs",
        type=click.IntRange(1),
        metavar="N",
        help="Of each tool.  [default: 3, and 1 of slow ones]",
    ),
    click.option(
        "--patience",
        type=click.IntRange(1),
        default=3600,
        metavar="SECONDS",
        help="For a tool and a file, each way.  [default: 3600]",
    ),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1),
        default=1,
        metavar="N",
        help="Files at a time, for tools of one thread.  [default: 1]",
    ),
    _THREADS,
    click.option("--results", metavar="FILE", help="Keep results there, and take up what it has."),
    _flag("--fresh", help="Measure again what results are known of."),
    click.option("--html", metavar="FILE", help="Write a report with plots."),
    _flag("--csv", help="Write CSV to standard output."),
]
_SPECULATION = [
    click.option("-m", "--model", metavar="NAME", help="The network.  [default: the largest]"),
    click.option(
        "--draft",
        "drafts",
        multiple=True,
        metavar="FILE",
        help="Guess by this draft network; 'none': by the text's history alone.",
    ),
    click.option(
        "--limit",
        type=Size(),
        default="2500",
        metavar="SIZE",
        help="Of each file.  [default: 2500]",
    ),
    click.option("--runs", type=click.IntRange(1), default=3, metavar="N", help="[default: 3]"),
    _THREADS,
    click.option("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:0."),
]
_HELP = {"help_option_names": ["-h", "--help"]}
_LAST = [click.argument("paths", nargs=-1, metavar="[FILE]...", type=str)]


def _file_command(verb: str, help: str, *groups: list[Option]) -> click.Command:
    """A command whose result, in click's non-standalone mode, is its Options."""

    def callback(**given: Any) -> Options:
        return _options(verb, **given)

    return _with_options(callback, verb, help, *groups, _LAST)


def _with_options(
    callback: Callable[..., Any], name: str, help: str, *groups: list[Option]
) -> click.Command:
    for option in reversed([option for group in groups for option in group]):
        callback = option(callback)
    return click.command(name, help=help, context_settings=_HELP)(callback)


def _options(command: str, /, **given: Any) -> Options:
    """Options from what click has parsed; raises UsageError where they contradict each other."""
    verb = given.pop("verb", None) or command
    paths = given.pop("paths") or (STREAM,)
    if given.pop("stdout", False):
        if given["output"] not in (None, STREAM):
            raise click.UsageError("-c and -o exclude each other")
        given["output"] = STREAM
    if verb in ("test", "list"):
        for writing in ("output", "source", "force"):
            given.pop(writing, None)  # gzip's form accepts, and ignores, them there
    output = given.get("output")
    given["source"] = given.get("source") or ""
    given["level"] = int(given.get("level") or DEFAULT_LEVEL)
    options = Options(verb, tuple(paths), **given)
    if options.threads < 0:
        raise click.UsageError("the number of threads cannot be negative")
    if not options.suffix.strip(".") or os.sep in options.suffix:
        raise click.UsageError(f"{options.suffix!r} is no suffix")
    if output not in (None, STREAM) and (len(paths) > 1 or options.recursive):
        raise click.UsageError("-o names one file; give one source, or use -c")
    if options.source == "remove" and options.to_stdout:
        raise click.UsageError("--rm needs a file to write to, not standard output")
    if options.json and verb in ("compress", "decompress") and _writes_stdout(options):
        raise click.UsageError("--json and the result both want standard output")
    return options


def _writes_stdout(options: Options) -> bool:
    return options.to_stdout or (options.output is None and STREAM in options.files)


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from lmc import __version__

        click.echo(f"lmc {__version__}")
        ctx.exit()


COMMANDS = {
    "compress": "Compress files: FILE becomes FILE.lmc.",
    "decompress": "Restore files: FILE.lmc becomes FILE.",
    "test": "Check that files are whole and undamaged.",
    "list": "Show what compressed files contain.",
    "models": "Show, get, make, check and remove models.",
    "bench": "Measure lmc among other compressors.",
}

MODEL_ACTIONS: dict[str, tuple[str, list[Option]]] = {
    "list": ("Show the models that are known, and which of them are installed.", []),
    "pull": (
        "Get models and install them: known ones by name, others of the Llama family by their id "
        "at Hugging Face, OWNER/NAME or OWNER/NAME:FILE.gguf.",
        [
            _names("MODEL...", required=True),
            click.option("--name", metavar="NAME", help="Call it so (one from Hugging Face)."),
        ],
    ),
    "import": (
        "Make a model from a checkpoint: a folder in Hugging Face's form, or a GGUF file.",
        [
            click.argument("names", nargs=1, metavar="CHECKPOINT", callback=_in_a_tuple),
            click.option("--name", metavar="NAME", help="The model's name here."),
            click.option("--delta", metavar="FILE", help="Tuned by what a training made."),
        ],
    ),
    "verify": ("Check that installed models are undamaged.", [_names("[MODEL]...")]),
    "rm": ("Remove installed models.", [_names("MODEL...", required=True)]),
}


def _models_command() -> click.Command:
    group = click.Group("models", help=COMMANDS["models"], context_settings=_HELP)
    for action, (help, own) in MODEL_ACTIONS.items():

        def callback(action: str = action, **given: Any) -> ModelOptions:
            return ModelOptions(action, **given)

        group.add_command(_with_options(callback, action, help, own, _QUIET_JSON))
    return group


def _bench_command() -> click.Command:
    def callback(**given: Any) -> BenchOptions:
        options = BenchOptions(**given)
        if options.threads < 0:
            raise click.UsageError("the number of threads cannot be negative")
        if options.json and options.csv:
            raise click.UsageError("--json and --csv both want standard output")
        return options

    paths = [click.argument("paths", nargs=-1, metavar="[FILE or FOLDER]...", type=str)]
    help = (
        "Measure lmc among other compressors, on files of any kind: each is given to the tools "
        "that belong to it, in processes of their own, and must come back. Tools that are not "
        "installed are named (pip install 'lmc[bench]'). Results are kept, so that a run that was "
        "interrupted goes on. `lmc bench speculate FILE...` measures decoding with guesses."
    )
    return _with_options(callback, "bench", help, _BENCH, _QUIET_JSON, paths)


def _speculation_command() -> click.Command:
    def callback(**given: Any) -> SpeculationOptions:
        return SpeculationOptions(**given)

    paths = [click.argument("paths", nargs=-1, metavar="[FILE]...", type=str)]
    help = (
        "Measure how much faster a single lane is decoded with guesses: by the draft network that "
        "comes with the model and by the text's own history, or by the draft networks named. Each "
        "way is taken in turns, and must give the same bytes."
    )
    return _with_options(callback, "speculate", help, _SPECULATION, _QUIET_JSON, paths)


def _build(name: str) -> click.Command:
    """The parser of one command; only the one that is wanted is ever made, for speed."""
    if name == "models":
        return _models_command()
    if name == "bench":
        return _bench_command()
    groups = {
        "compress": [_PACKING, _WRITING, _DEVICE, _COMMON],
        "decompress": [_WRITING, _UNPACKING, _DEVICE, _COMMON],
        "test": [_UNPACKING, _DEVICE, _COMMON],
        "list": [_COMMON],
    }
    return _file_command(name, COMMANDS[name], *groups[name])


class GzipForm(click.Command):
    """`lmc` without a command: gzip's form, and the help that names the commands."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("lmc", "[OPTIONS] [FILE]...")
        formatter.write_usage("lmc", "COMMAND [OPTIONS] [FILE]...", "       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        super().format_options(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(
            "Without FILE, or where FILE is -, lmc reads standard input and writes standard "
            "output. Sources are kept. Exit code: 0 fine, 1 failed, 2 warning, 3 model missing."
        )


def _build_gzip_form() -> click.Command:
    operations = [
        _choice("verb", "decompress", "-d", "--decompress", help="Decompress."),
        _choice("verb", "test", "-t", "--test", help="Test: check files and write nothing."),
        _choice("verb", "list", "-l", "--list", help="List what files contain."),
        click.option("-z", "--compress", "verb", flag_value="compress", hidden=True),
    ]
    version = click.option(
        "-V",
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version.",
    )
    help = (
        "Compress files without loss, with pretrained models. Without a command, and without "
        "one of -d, -t and -l, lmc compresses."
    )
    groups = [operations, _PACKING, _WRITING, _UNPACKING, _DEVICE, _COMMON, [version]]
    plain = _file_command("compress", help, *groups)
    return GzipForm(
        "lmc",
        callback=plain.callback,
        params=plain.params,
        help=help,
        context_settings=_HELP,
    )


Request = Options | ModelOptions | BenchOptions | SpeculationOptions


def parse(arguments: Sequence[str]) -> Request | int:
    """Turn arguments into Options, or into an exit code where click has printed a text.

    A command is recognised only as the first argument; `lmc ./list` compresses a file
    called list. Raises click.UsageError.

    >>> options = parse(["-dkc", "a.lmc"])
    >>> options.verb, options.files, options.source, options.output
    ('decompress', ('a.lmc',), 'keep', '-')
    """
    if list(arguments) == ["models"]:
        arguments = ["models", "--help"]
    if list(arguments[:2]) == ["bench", "speculate"]:
        command, name = _speculation_command(), "lmc bench speculate"
        arguments = arguments[2:]
    elif arguments and arguments[0] in COMMANDS:
        command, name = _build(arguments[0]), f"lmc {arguments[0]}"
        arguments = arguments[1:]
    else:
        command, name = _build_gzip_form(), "lmc"
    result = command.main(list(arguments), prog_name=name, standalone_mode=False)
    return cast("Request | int", result)


# Talking ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Console:
    """Standard error, the exit code that has come together so far, and results for --json."""

    quiet: int = 0
    codes: set[int] = field(default_factory=set)
    results: list[dict[str, object]] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)

    def failed(self, name: str, error: LmcError) -> None:
        """Report an error, or a warning, about a file (or a model, or standard input)."""
        self.codes.add(error.exit_code)
        if self.quiet < (1 if isinstance(error, Skipped) else 2):
            subject = f"{files.printable(name)}: " if name else ""
            self.say(f"lmc: {subject}{error}")
            if error.hint:
                self.say(f"hint: {error.hint}")
        result: dict[str, object] = {"message": str(error), "code": error.exit_code}
        if error.hint:
            result["hint"] = error.hint
        self.results.append({"input": name, "error": result})

    @property
    def exit_code(self) -> int:
        """The one code, if all failures had the same; a failure outweighs warnings."""
        failures = self.codes - {0, Skipped.exit_code}
        if len(failures) > 1:
            return 1
        return max(failures or self.codes or {0})


def _foreseen(error: OSError | MemoryError, path: str = "") -> LmcError:
    """An error of the system as one of ours: what it says, and of which file if not `path`."""
    if isinstance(error, MemoryError):
        return LmcError("there is not enough memory")
    reason = error.strerror or str(error)
    text = reason[:1].lower() + reason[1:]
    if isinstance(error.filename, str) and error.filename != path:
        text = f"{files.printable(error.filename)}: {text}"
    return LmcError(text)


# Jobs -------------------------------------------------------------------------------------


def run(options: Options) -> int:
    """Do what the options say for every file; returns the exit code."""
    console = Console(options.quiet)
    job = {"compress": _pack, "decompress": _unpack, "test": _test, "list": _list}[options.verb]
    for path, found in _paths(options, console):
        if found and files.has_suffix(path, options.suffix) == (options.verb == "compress"):
            continue  # in a folder, only what fits is meant
        try:
            result = job(path, options, console)
        except BrokenPipeError:
            raise
        except LmcError as error:
            if isinstance(error, TooMuchMemory):
                error.hint = f"--memory {-(-error.needed >> 20)}M allows it, if you trust the file"
            console.failed(_shown(path), error)
        except (OSError, MemoryError) as error:
            failure = _foreseen(error, path)
            if isinstance(error, FileNotFoundError) and path in COMMANDS:
                failure.hint = f"commands come first: lmc {path} ..."
            console.failed(_shown(path), failure)
        else:
            console.codes.add(0)
            console.results.append(result)
    if options.json:
        print(json.dumps({"files": console.results}, indent=2))
    elif options.verb == "list":
        _print_list([r for r in console.results if "error" not in r], options)
    return console.exit_code


def _paths(options: Options, console: Console) -> Iterator[tuple[str, bool]]:
    """The files to work on, and whether each was found in a folder."""
    for path in options.files:
        yield from files.expand(
            path,
            options.recursive,
            lambda error: console.failed(str(error.filename), _foreseen(error, error.filename)),
        )


def _shown(path: str) -> str:
    return "standard input" if path == STREAM else path


def _pack(path: str, options: Options, console: Console) -> dict[str, object]:
    from lmc.codecs.base import Settings
    from lmc.stream import compress_stream

    settings = Settings(
        level=options.level,
        model=options.model,
        threads=options.threads,
        frame_size=options.frame_size,
        codec=options.codec,
        pixels=options.pixels,
        video=options.video,
        frames=options.frames,
        lane_size=options.lane_size,
        window=options.window,
    )
    output = options.output
    if output is None and path != STREAM:
        if files.has_suffix(path, options.suffix) and not options.force:
            raise Skipped(f"has the suffix {options.suffix} already", hint="-f compresses it again")
        output = files.compressed_name(path, options.suffix)
    if output in (None, STREAM) and sys.stdout.isatty() and not options.force:
        raise LmcError(
            "compressed data is not written to a terminal",
            hint="name a FILE, redirect the output, or see lmc --help",
        )
    with _transfer(path, output or STREAM, options, console) as (src, dst, progress):
        began = time.monotonic()
        totals = compress_stream(
            src, dst, settings, size_hint=progress.total, progress=progress.update
        )
    return _report(
        path, output, totals.read, totals.written, time.monotonic() - began, options, console
    )


def _unpack(path: str, options: Options, console: Console) -> dict[str, object]:
    from lmc.stream import decompress_stream

    output = options.output
    if output is None and path != STREAM:
        output = files.restored_name(path, options.suffix)
    _refuse_typed(path)
    with _transfer(path, output or STREAM, options, console) as (src, dst, progress):
        began = time.monotonic()
        source: Any = files.Replay(src) if options.force and output in (None, STREAM) else src
        try:
            totals = decompress_stream(
                source,
                dst,
                memory_limit=options.memory,
                threads=options.threads,
                speculate=not options.no_speculate,
                size_hint=progress.total,
                progress=progress.update,
            )
            read, written, speculation = totals.read, totals.written, totals.speculation
        except NotLmc:
            if not isinstance(source, files.Replay):
                raise
            read = written = source.pass_through(dst)  # `lmccat -f` reads anything, as zcat -f
            speculation = None
    seconds = time.monotonic() - began
    result = _report(path, output, written, read, seconds, options, console)
    return result | _guesses(speculation, options, console)


def _test(path: str, options: Options, console: Console) -> dict[str, object]:
    from lmc.stream import verify_stream

    _refuse_typed(path)
    with files.source(path, follow=True, special=True) as src:
        began = time.monotonic()
        with _progress(path, src, options, shown=True) as progress:
            totals = verify_stream(
                src,
                memory_limit=options.memory,
                threads=options.threads,
                speculate=not options.no_speculate,
                size_hint=progress.total,
                progress=progress.update,
            )
    seconds = time.monotonic() - began
    if _talkative(options):
        console.say(f"{files.printable(_shown(path))}: whole, {files.size(totals.written)}")
    return {
        "input": path,
        "content_bytes": totals.written,
        "compressed_bytes": totals.read,
        "seconds": round(seconds, 3),
    } | _guesses(totals.speculation, options, console)


def _list(path: str, options: Options, console: Console) -> dict[str, object]:
    from lmc.info import inspect

    if path == STREAM:
        raise LmcError("a stream cannot be listed", hint="save it to a file")
    with files.source(path, follow=True, special=False) as src:
        return {"input": path, **inspect(src).to_dict()}


def _print_list(results: list[dict[str, Any]], options: Options) -> None:
    """A table with a line for each file, and with -v one for each member and frame."""
    if not results:
        return
    print("compressed     content  ratio  frames   memory  model             methods  name")
    for result in results:
        members = result["members"]
        models = sorted({m["model_name"] or m["model"] for m in members if m["model"]})
        cells = (
            f"{result['compressed_size']:10d}",
            f"{result['size']:11d}",
            _ratio(result["ratio"]),
            f"{sum(len(member['frames']) for member in members):6d}",
            f"{files.size(result['memory']):>8}",
            f"{'+'.join(models) or '-':16}",
            "+".join(result["methods"]) or "-",
            files.printable(result["input"]),
        )
        print("  ".join(cells))
        for frame in (frame for member in members for frame in member["frames"]):
            if frame["picture"]:
                bits = frame["sub_pixel_bits"]
                print(f"  picture: {frame['picture']}, {bits:.3f} bits a sub-pixel")
            if frame["sound"]:
                print(f"  sound: {frame['sound']}, {frame['sample_bits']:.3f} bits a sample")
            if frame["video"]:
                print(f"  video: {frame['video']}, {frame['sample_bits']:.3f} bits a sample")
        for member in members if options.verbose else ():
            print(
                f"  member: {member['form']}, format {member['version']}, "
                f"{member['compressed_size']} bytes of which {member['overhead']} overhead, "
                f"model {member['model'] or '-'}, needs {files.size(member['memory'])}"
            )
            for frame in member["frames"]:
                print(
                    f"    frame: {frame['method']}, {frame['payload_size']} -> {frame['size']} "
                    f"bytes, xxh64 {frame['check']}"
                )
    if len(results) > 1:
        compressed = sum(result["compressed_size"] for result in results)
        content = sum(result["size"] for result in results)
        ratio = _ratio(content / compressed)
        print(f"{compressed:10d}  {content:11d}  {ratio}  in {len(results)} files")


def _ratio(ratio: float | None) -> str:
    return f"{ratio:5.2f}" if ratio else "    -"


def _refuse_typed(path: str) -> None:
    if path == STREAM and sys.stdin.isatty():
        raise LmcError(
            "compressed data is not read from a terminal",
            hint="name a FILE, redirect the input, or see lmc --help",
        )


@contextmanager
def _transfer(
    path: str, output: str, options: Options, console: Console
) -> Iterator[tuple[BinaryIO, BinaryIO, files.Progress]]:
    """Source and target of one job, with all the care that files.py can take of them."""
    named = options.output is not None  # then the source's name and kind matter less
    follow = named or options.force or options.source == "keep"
    with files.source(path, follow=follow, special=named or options.force) as src:
        status = os.fstat(src.fileno())
        remove = options.source == "remove" and path != STREAM
        if remove and status.st_nlink > 1 and not options.force:
            raise Skipped("has other hard links, so --rm would free nothing", hint="-f does it")
        if files.is_same(src, 1 if output == STREAM else output):
            raise LmcError("input and output are the same file")
        visible = output != STREAM or not sys.stdout.isatty()
        with _progress(path, src, options, shown=visible) as progress:
            if output == STREAM:
                # Not sys.stdout.buffer, which under PYTHONUNBUFFERED writes less than it is given.
                with open(sys.stdout.fileno(), "wb", closefd=False) as dst:
                    yield src, dst, progress
                return
            with files.target(
                output,
                like=None if path == STREAM else status,
                replace=options.force or _may_replace(output, path),
                durable=remove,
            ) as dst:
                yield src, dst, progress
        if remove:
            files.remove_source(path, status)


def _may_replace(output: str, path: str) -> bool:
    """Ask whether an existing output may go, if there is somebody to ask; False: none exists."""
    try:
        files.refuse_existing(output)
    except LmcError:
        if path == STREAM or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        print(f"lmc: {files.printable(output)} exists; replace it (y/N)? ", end="", file=sys.stderr)
        sys.stderr.flush()
        if not sys.stdin.readline().strip().lower().startswith("y"):
            raise Skipped(f"{files.printable(output)} is left as it was") from None
        return True
    return False


@contextmanager
def _progress(
    path: str, src: BinaryIO, options: Options, *, shown: bool
) -> Iterator[files.Progress]:
    from lmc.kernels import gpu

    total = files.length(src)
    gpu.use(options.device, total)
    progress = files.Progress(sys.stderr, _shown(path), total, shown=shown and not options.quiet)
    try:
        yield progress
    finally:
        progress.clear()


def _talkative(options: Options) -> bool:
    """Whether a line on success is wanted: with -v, and on a terminal without -q."""
    return bool(options.verbose) or (sys.stderr.isatty() and not options.quiet)


def _report(
    path: str,
    output: str | None,
    content: int,
    compressed: int,
    seconds: float,
    options: Options,
    console: Console,
) -> dict[str, object]:
    if _talkative(options):
        share = f" ({100 * compressed / content:.1f} %)" if content else ""
        before, after = files.size(content), files.size(compressed)
        if options.verb == "decompress":
            before, after = after, before
        name = files.printable(_shown(path))
        console.say(f"{name}: {before} -> {after}{share}, {seconds:.1f} s")
    return {
        "input": path,
        "output": output or STREAM,
        "content_bytes": content,
        "compressed_bytes": compressed,
        "seconds": round(seconds, 3),
    }


def _guesses(
    speculation: Speculation | None, options: Options, console: Console
) -> dict[str, object]:
    """What speculation did, for -v and --json; nothing if no tokens were guessed."""
    if speculation is None or not speculation.passes:
        return {}
    s = speculation
    pairs = [(n, right) for n, right in zip(s.offered, s.accepted, strict=True) if n]
    if options.verbose:
        rest = s.total - s.guessing - s.network
        shares = (100 * part / s.total for part in (s.guessing, s.network, rest))
        times = "guessing {:.0f} %, network {:.0f} %, coding {:.0f} %".format(*shares)
        console.say(
            f"  {s.tokens / s.passes:.2f} tokens a pass of {s.rows / s.passes:.1f}; {times}"
        )
        if pairs:
            right = ", ".join(f"{100 * right / n:.0f}" for n, right in pairs[:8])
            console.say(f"  right of the passes that looked 1, 2, ... tokens ahead: {right} %")
    return {
        "speculation": {
            "tokens": s.tokens,
            "passes": s.passes,
            "rows": s.rows,
            "offered": [n for n, _ in pairs],
            "accepted": [right for _, right in pairs],
            "guessing_seconds": round(s.guessing, 3),
            "network_seconds": round(s.network, 3),
            "seconds": round(s.total, 3),
        }
    }


def run_models(options: ModelOptions) -> int:
    """Do what `lmc models ACTION` says for every model; returns the exit code."""
    from lmc.models import hub, registry

    console = Console(options.quiet)

    def tell(line: str) -> None:
        if not options.quiet:
            console.say(line)

    def one(name: str) -> dict[str, object]:
        if options.name and len(options.names) > 1:
            raise Usage("--name is for one model")
        if options.action == "pull" and not hub.is_id(name):
            if options.name:
                raise Usage(f"{name} has its name already", hint="--name is for ids OWNER/NAME")
            made = registry.pull(name, tell)
        elif options.action in ("pull", "import"):
            path = os.path.normpath(name)
            here = options.action == "import" and os.path.exists(path)
            usual = os.path.basename(path).removesuffix(".gguf")
            own = options.name or (usual if here or not hub.is_id(name) else hub.short_name(name))
            bars = sys.stderr.isatty() and not options.quiet
            made = registry.import_checkpoint(
                path if here else name, own, tell, bars=bars, delta=options.delta
            )
        elif options.action == "verify":
            registry.verify(name)
            tell(f"{name}: undamaged")
            return {"name": name}
        else:
            registry.remove(name)
            return {"name": name}
        tell(f"{made.card.name} is installed: {made.path} ({files.size(made.size_bytes)})")
        return {
            "name": made.card.name,
            "path": str(made.path),
            "size_bytes": made.size_bytes,
            "licence": made.card.licence,
            "source": made.card.source,
            "identity": made.card.identity,
        }

    if options.action == "list":
        console.results = _known_models()
        if not options.json:
            _print_models(console.results)
    folder = registry.home() / "models"
    names = options.names
    if options.action == "verify" and not names:
        names = tuple(sorted(path.stem for path in folder.glob(f"[!.]*{registry.SUFFIX}")))
    for name in names:
        try:
            console.results.append(one(name))
        except LmcError as error:
            console.failed(name, error)
        except (OSError, MemoryError) as error:
            console.failed(name, _foreseen(error, name))
    if options.json:
        print(json.dumps({"models": console.results}, indent=2))
    return console.exit_code


def _known_models() -> list[dict[str, Any]]:
    """The installed models, best first, then those that could be."""
    from lmc.models import registry

    installed = registry.installed()
    models: list[dict[str, Any]] = [
        {
            "name": model.name,
            "installed": True,
            "embedded": model.embedded,
            "path": str(model.path),
            "size_bytes": model.size_bytes,
            "parameters": model.card.parameters,
            "licence": model.card.licence,
            "source": model.card.source,
            "identity": model.card.identity,
        }
        for model in installed
    ]
    present = {model["identity"] for model in models}
    for name, known in sorted(registry.known().items()):
        if known.identity not in present:
            models.append(
                {
                    "name": name,
                    "installed": False,
                    "licence": known.licence,
                    "source": known.source,
                    "identity": known.identity,
                }
            )
    return models


def _print_models(models: list[dict[str, Any]]) -> None:
    print("name                      installed  parameters  model             licence")
    for model in models:
        size = files.size(model["size_bytes"]) if model["installed"] else "no"
        count = f"{model['parameters'] / 1e6:.0f} M" if model["installed"] else ""
        print(
            f"{model['name']:24}  {size:>9}  {count:>10}  {model['identity'][:16]}  "
            f"{model['licence']}"
        )


# The door ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run lmc with these arguments (those of the process, if None) and exit."""
    sys.exit(_main(sys.argv[1:] if arguments is None else arguments))


def unlmc() -> NoReturn:
    """`unlmc` is `lmc -d`."""
    main(["-d", *sys.argv[1:]])


def lmccat() -> NoReturn:
    """`lmccat` is `lmc -dc`."""
    main(["-dc", *sys.argv[1:]])


class _Interrupted(BaseException):
    """A signal, as an exception that no job catches."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _raise_on_signal() -> None:
    """Let signals end the work as an exception, which cleans up on its way."""

    def interrupt(number: int, _frame: object) -> None:
        raise _Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def _die_of(number: int) -> None:
    """End as if the signal had never been caught: whoever started us sees what happened."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _main(arguments: Sequence[str]) -> int:
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        return 1  # a closed standard stream: its number would go to the first file we open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may be what no terminal can show
    console = Console()
    try:
        request = parse(arguments)
        if isinstance(request, Options):
            files.remove_on_signal()
            code = run(request)
        elif isinstance(request, ModelOptions):
            _raise_on_signal()
            code = run_models(request)
        elif isinstance(request, BenchOptions):
            from lmc.bench.command import bench

            _raise_on_signal()
            code = bench(request)
        elif isinstance(request, SpeculationOptions):
            from lmc.bench.speculation import speculation

            _raise_on_signal()
            code = speculation(request)
        else:
            code = request
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _die_of(signal.SIGPIPE)  # whoever read our output has left: quietly, as every filter
    except _Interrupted as interrupted:
        _die_of(interrupted.number)
    except click.ClickException as error:
        text = error.format_message().rstrip(".")
        console.failed(
            "", LmcError(text[:1].lower() + text[1:], hint="lmc --help shows the options")
        )
    except LmcError as error:
        console.failed("", error)
    except OSError as error:
        # What could not be written must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        console.failed("", _foreseen(error))
    return console.exit_code
