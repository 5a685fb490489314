"""Text that fits a line: words are wrapped, tables go on below, commands stay whole.

On a terminal no word, path or command is broken by its edge. A file or pipe has no edge: there a
sentence is one line, and a table's row too.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

COMMANDS = (
    "bench|compare|doctor|domains|env|eval|export|figures|grad-variance|methods|play|plot|report|"
    "runs|study|surface|train|video"
)
COMMAND = re.compile(rf": (?=p2p (?:{COMMANDS})\b)")  # to the end of a message: one to copy
WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\]|['"\\])+""")  # of a shell's command
ELLIPSIS = "…"
MORE = " \\"  # a shell goes on reading in the next line


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """Return a sentence over as many lines as it needs; longer words than a line are not broken.

    Args:
        indent: of all lines but the first.
    """
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def command_lines(command: str, width: int, label: str = "") -> list[str]:
    """Return a command to copy; one longer than a line goes on below, as shells read it.

    Args:
        label: what stands before it; later lines are indented by as much.
    """
    room = width - len(label)
    if len(command) <= room:
        return [label + command]
    lines = [""]
    for word in _words(command):
        longer = f"{lines[-1]} {word}".lstrip() if len(lines) == 1 else f"{lines[-1]} {word}"
        if lines[-1].strip() and len(longer) > room - len(MORE):
            lines.append(f"    {word}")
        else:
            lines[-1] = longer
    ends = [*[MORE] * (len(lines) - 1), ""]
    starts = [label, *[" " * len(label)] * (len(lines) - 1)]
    return [a + line + z for a, line, z in zip(starts, lines, ends, strict=True)]


def _words(command: str) -> list[str]:
    """Return the words of a command as a shell reads them, with their quotation marks."""
    return WORD.findall(command)


def message_lines(message: str, width: int) -> list[str]:
    """Return a message; the command that it may end with has lines of its own."""
    if len(message) <= width:
        return [message]
    said, *command = COMMAND.split(message, maxsplit=1)
    if not command:
        return wrap(message, width)
    return [*wrap(f"{said}:", width), *command_lines(command[0], width, "  ")]


def shortened(text: str, width: int) -> str:
    """Return a text, or if it does not fit its two ends: the middle of names says least."""
    if len(text) <= width:
        return text
    head = max(0, (width - 1) // 2)
    tail = max(0, width - 1 - head)
    return text[:head] + ELLIPSIS + text[len(text) - tail :]


def shortened_end(text: str, width: int) -> str:
    """Return a text, or if it does not fit its beginning."""
    return text if len(text) <= width else text[: width - 1] + ELLIPSIS


def blocks(sizes: Sequence[int], width: int, keep: int, group: int = 1) -> Iterator[list[int]]:
    """Yield the columns of each part of a table that is too wide for one.

    Args:
        sizes: widths of the columns.
        width: that of a line; two cells lie between columns.
        keep: how many first columns stand in each part.
        group: how many of the others stay together.
    """
    kept = list(range(keep))
    part = list(kept)
    for first in range(keep, len(sizes), group):
        added = list(range(first, min(first + group, len(sizes))))
        if len(part) > keep and sum(sizes[n] + 2 for n in (*part, *added)) - 2 > width:
            yield part
            part = list(kept)
        part += added
    yield part
