"""Writes src/unicode.hpp, the letters and numbers of Unicode, which tokenizers tell apart.

python -m lmc.kernels.unicode > kernels/src/unicode.hpp

By the package unicodedata2, if it is installed, whose Unicode may be newer than this Python's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

unicodedata = import_module("unicodedata2" if find_spec("unicodedata2") else "unicodedata")


def ranges(category: str) -> list[tuple[int, int]]:
    """First and last code points of a general category, by its first letter."""
    found: list[tuple[int, int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] != category:
            continue
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found


def main() -> None:
    print(f"// Of Unicode {unicodedata.unidata_version}: first and last code points of runs.")
    print("// Made by kernels/unicode.py.\n#pragma once\n#include <cstdint>\n\nnamespace lmc {\n")
    for name, category in (("kLetters", "L"), ("kNumbers", "N")):
        print(f"inline constexpr uint32_t {name}[][2] = {{")
        line = "   "
        for first, last in ranges(category):
            item = f" {{{first:#x}, {last:#x}}},"
            if len(line + item) > 120:
                print(line)
                line = "   "
            line += item
        print(f"{line}\n}};")
    print("\n}  // namespace lmc")


if __name__ == "__main__":
    main()
