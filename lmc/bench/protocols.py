"""The protocols of papers, beside the truth of whole files."""

from __future__ import annotations

from lmc.bench.content import CHUNK, SEGMENT
from lmc.bench.work import WHOLE

LMCOMPRESS = "lmcompress"
CHUNKED = (LMCOMPRESS,)
"""Those that can be asked for."""

TITLES = {WHOLE: "Whole files", LMCOMPRESS: "Protocol of LMCompress: chunks"}
NOTES = {
    WHOLE: "",
    LMCOMPRESS: (
        f"Every chunk is coded alone, as if nothing came before it: {SEGMENT:,} pixels in the "
        f"order of rows, or {CHUNK:,} bytes of text, of samples or of frames. Sizes are set "
        "against the bare content (bytes of text, width x height x channels, samples), and models "
        "are not counted, as in the papers; but each chunk here keeps the header of its own "
        "format, which the papers leave out. A tool that learns from the file, lmc among them, "
        "loses most by it: compare with the whole files above, which is what anyone would do with "
        "the tool."
    ),
}
