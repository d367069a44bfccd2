"""What a file says of itself, from its headers alone: nothing is decoded, no model is needed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from lmc import codecs
from lmc.container import (
    VERSION,
    Description,
    FramePart,
    MemberStart,
    Reader,
    SkippablePart,
    walk,
)
from lmc.errors import Usage


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """One frame. check: the checksum of its content, XXH64.

    picture: of an image file, its geometry and the way that its pixels are coded, else None;
    sub_pixel_bits: coded bits for each of its samples. sound, sample_bits: the same of audio;
    video, sample_bits: of video.
    """

    method: str
    params: bytes
    size: int
    payload_size: int
    check: int
    picture: str | None = None
    sub_pixel_bits: float | None = None
    sound: str | None = None
    sample_bits: float | None = None
    video: str | None = None


@dataclass(slots=True)
class MemberInfo:
    """One member. Sizes in bytes: content, the whole member, and of that what is not payload.

    model: the 16 hex digits that the header gives, or None; model_name: its name if installed.
    memory: what decoding it may need. skipped: bytes in the payloads of skippable blocks.
    """

    version: int
    form: str
    model: str | None
    model_name: str | None
    memory: int
    size: int = 0
    compressed_size: int = 0
    overhead: int = 0
    skipped: int = 0
    skippable: int = 0
    frames: list[FrameInfo] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Info:
    """A whole file: its members, and their sizes summed."""

    members: list[MemberInfo]
    size: int
    compressed_size: int

    @property
    def ratio(self) -> float | None:
        """Content bytes for each compressed byte; None for an empty content."""
        return self.size / self.compressed_size if self.size else None

    @property
    def memory(self) -> int:
        """The most memory that decoding any of its members may need."""
        return max(member.memory for member in self.members)

    @property
    def methods(self) -> dict[str, int]:
        """Bytes of content by the method that codes them."""
        sums: dict[str, int] = {}
        for member in self.members:
            for frame in member.frames:
                sums[frame.method] = sums.get(frame.method, 0) + frame.size
        return sums

    def to_json(self) -> str:
        """All of it, one JSON object; checks and parameters as hex."""
        import json  # not needed to compress

        return json.dumps(self.to_dict(), indent=2)

    def to_dict(self) -> dict[str, Any]:
        """All of it, of types that JSON knows."""
        out = asdict(self)
        for member in out["members"]:
            for frame in member["frames"]:
                frame["params"] = frame["params"].hex()
                frame["check"] = f"{frame['check']:016x}"
        return {"ratio": self.ratio, "memory": self.memory, "methods": self.methods} | out


def inspect(file: BinaryIO) -> Info:
    """Read all headers and indexes of a file that can seek, jumping over payloads.

    Raises Usage if it cannot seek, and NotLmc, Corrupt, Truncated or Unsupported: sizes must
    add up to the file, but the content is not verified. No limit on memory applies.
    """
    if not file.seekable():
        raise Usage("only files that can seek can be listed", hint="save the stream to a file")
    members: list[MemberInfo] = []
    offset = 0
    reader = Reader(memory_limit=1 << 62, payloads=False)
    for part in walk(file, reader):
        if isinstance(part, MemberStart):
            offset = part.offset
            members.append(_member(part))
            continue
        member = members[-1]
        if isinstance(part, FramePart):
            frame = part.description
            name = codecs.BY_NUMBER.get(frame.method, (f"method {frame.method}", ""))[0]
            member.frames.append(
                FrameInfo(
                    name,
                    frame.params,
                    frame.size,
                    frame.payload_size,
                    frame.check,
                    **_facts(frame),
                )
            )
            member.size += frame.size
        elif isinstance(part, SkippablePart):
            member.skippable += 1
            member.skipped += part.block.payload_size
        else:
            member.compressed_size = part.offset - offset
            payloads = sum(frame.payload_size for frame in member.frames)
            member.overhead = member.compressed_size - payloads - member.skipped
    return Info(
        members,
        sum(member.size for member in members),
        sum(member.compressed_size for member in members),
    )


def _member(part: MemberStart) -> MemberInfo:
    header = part.header
    return MemberInfo(
        version=VERSION,
        form="long" if header.long else "short",
        model=None if header.model is None else header.model.hex(),
        model_name=_model_name(header.model),
        memory=header.memory,
    )


def _facts(frame: Description) -> dict[str, Any]:
    """The last fields of a frame's FrameInfo, where it is an image, a sound or a video."""
    codec = codecs.BY_NUMBER.get(frame.method, ("", ""))[1]
    bits = 8 * frame.payload_size
    # Modules that are not needed for text.
    if codec == "image":
        from lmc.codecs import image

        samples = image.sub_pixels(frame.params)
        return {"picture": image.describe(frame.params), "sub_pixel_bits": bits / samples}
    if codec == "audio":
        from lmc.codecs import audio

        samples = audio.samples_of(frame.params)
        return {"sound": audio.describe(frame.params), "sample_bits": bits / samples}
    if codec == "video":
        from lmc.codecs import video

        samples = video.samples_of(frame.params)
        return {"video": video.describe(frame.params), "sample_bits": bits / samples}
    return {}


def _model_name(identity: bytes | None) -> str | None:
    """The name that the registry knows the model by; None if it does not."""
    if identity is None:
        return None
    from lmc.models import registry

    return registry.name_of(identity)
