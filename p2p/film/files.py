"""Files of moving pictures: WebP and GIF by Pillow, MP4 by ffmpeg (extra `video`)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image, features

from p2p.core.errors import NoRoom, UsageError

LOOP = 0  # for ever
QUALITY = 75  # of WebP, 0..100
SUFFIXES = (".webp", ".gif", ".mp4")
UNITS = {".webp": 1, ".gif": 10, ".mp4": 1}  # ms, what the time between pictures is a multiple of
LONGEST = {  # ms, that a picture can stay
    ".webp": 2**24 - 1,  # 24 bits
    ".gif": (2**16 - 1) // 2 * 10,  # 16 bits; half, as Pillow makes one picture of two equal ones
    ".mp4": 1_001_000,  # the largest term of a rate that ffmpeg reads exactly
}


def check_format(path: Path) -> None:
    """Raise UsageError if no file of that name can be written here."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: name a film *{', *'.join(SUFFIXES[:-1])} or *{SUFFIXES[-1]}")
    if suffix == ".mp4":
        _ffmpeg()
    if suffix == ".webp" and not features.check("webp"):
        raise UsageError(f"{path}: this Pillow was built without WebP; name it .gif")


def delay(path: Path, fps: float) -> int:
    """Return the time between pictures that the format can hold nearest to 1 / fps, ms.

    Raises:
        UsageError: the format cannot hold a picture that long.
    """
    suffix = path.suffix.lower()
    step, longest = UNITS[suffix], LONGEST[suffix]
    if 1000 / fps > longest:
        raise UsageError(
            f"fps={fps:g}: a {suffix} film shows a picture for at most {longest / 1000:,.6g} s; "
            "give a higher fps"
        )
    least = 20 if step == 10 else step  # viewers slow GIFs down that want to be faster
    return max(least, step * round(1000 / fps / step))


def write(path: Path, suffix: str, pictures: Iterator[Image.Image], milliseconds: int) -> None:
    """Write pictures to a file as they come.

    Args:
        path: of the file, under whatever name.
        suffix: of the format, such as ".gif".
        milliseconds: between pictures.

    Raises:
        NoRoom: ffmpeg could not write the file.
    """
    if suffix == ".mp4":
        return _write_mp4(path, pictures, milliseconds)
    settings: dict[str, Any] = {"duration": milliseconds, "loop": LOOP, "save_all": True}
    if suffix == ".gif":
        pictures = _on_one_palette(pictures)
        settings |= {"format": "GIF", "optimize": False}
    else:
        settings |= {"format": "WEBP", "quality": QUALITY, "method": 2}
    return next(pictures).save(path, append_images=pictures, **settings)


def _on_one_palette(pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """Yield pictures in the 256 colours of the first; each its own would flicker."""
    palette = None
    for picture in pictures:
        if palette is None:
            palette = picture.quantize(256, method=Image.Quantize.MEDIANCUT)
        yield picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _write_mp4(path: Path, pictures: Iterator[Image.Image], milliseconds: int) -> None:
    first = next(pictures)
    size, rate = "{}x{}".format(*first.size), f"1000/{milliseconds}"
    command = [
        _ffmpeg(), "-y", "-v", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "-",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart",
        "-f", "mp4", str(path),
    ]  # fmt: skip
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    # a group of its own: Ctrl-C is ours to handle
    ffmpeg = subprocess.Popen(command, start_new_session=True, **pipes)
    assert ffmpeg.stdin is not None
    assert ffmpeg.stderr is not None
    try:
        with suppress(BrokenPipeError), ffmpeg.stdin as pipe:  # it says below why it ended
            for picture in chain([first], pictures):
                pipe.write(picture.tobytes())
        said = " ".join(ffmpeg.stderr.read().decode(errors="replace").split())
    except BaseException:
        ffmpeg.kill()
        raise
    finally:
        ffmpeg.stderr.close()
        ffmpeg.wait()
    if ffmpeg.returncode:
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            if os.strerror(code) in said:
                raise OSError(code, os.strerror(code))
        raise NoRoom(f"ffmpeg cannot write the film: {said[-200:]}; name it .webp")


def _ffmpeg() -> str:
    """Return the path of ffmpeg.

    Raises:
        UsageError: the extra `video` is not installed.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise UsageError(
            "MP4 needs ffmpeg; install it with: pip install 'p2pdrl[video]', or name a .webp"
        ) from None
    try:
        found: str = get_ffmpeg_exe()
    except RuntimeError as error:
        raise UsageError(f"MP4 needs ffmpeg: {error}; name a .webp") from None
    return found
