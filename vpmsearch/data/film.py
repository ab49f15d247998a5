"""Films: their pictures one after another, and the picture of a moment, exactly. The only module that imports PyAV.

A picture is identified by its *time*, in seconds from the film's first picture. A frame number would not do: the time
between frames varies, and one can only jump to a time. Where frames are numbered, they count from 1, as in
MOTChallenge.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image

from vpmsearch.errors import DataError, ImageError
from vpmsearch.system.regular import open_regular

SUFFIXES = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .3gp .wmv .flv .ogv".split())  # noqa: SIM905
"""File name extensions of films, lower case."""

_FORMATS = "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
# Playlists, concatenations and the like are refused: libav would open other files and addresses for them.
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": ""}
_LARGEST = 1 << 42  # bytes
_SAME = 2e-6  # seconds: times as near as this are the same, since paths hold microseconds
_AHEAD = 5.0  # seconds: what lies between is decoded; a longer distance is jumped over
_MARGIN = 1.0  # seconds; decoding starts at least this long before a moment
_REORDERED = 20  # frames: a frame is decoded at most this many places away from where it is shown


class Picture(NamedTuple):
    """A picture of a film.

    number: of the frame, from 1; 0 after a jump, when it is not known. seconds: from the film's first picture.
    """

    number: int
    seconds: float
    image: Image.Image


def is_film(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the extension of a film."""
    return os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122 (speed)


class Film:
    """An open film. Only one thread may use it at a time.

    Args:
        path: of the file. max_pixels: most pixels of a picture; a film with larger ones is refused.

    Raises:
        ImageError: the file is no film that can be read. DataError: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_pixels: int) -> None:
        self.path, self._max_pixels = Path(path), max_pixels
        self._av = _package()
        try:
            self._file = open_regular(self.path, _LARGEST, follow=True)
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror or error})", str(path)) from error
        self._frames: Iterator[Any] = iter(())
        self._now: Any = None
        """The frame that was decoded last."""
        self._next: Any = None
        """The next frame, if it is decoded already."""
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        try:
            self._container = self._av.open(self._file, options=_OPTIONS, metadata_errors="replace")
            streams = self._container.streams.video
            if not streams:
                raise ImageError("a film without pictures", str(self.path))
            self._stream = streams[0]
            self._stream.thread_type = "AUTO"
            width, height = self._stream.codec_context.width, self._stream.codec_context.height
        except (self._av.FFmpegError, ValueError, RuntimeError, TypeError) as error:
            raise ImageError(f"not a film of a known format, or damaged ({_short(error)})", str(self.path)) from error
        if width < 1 or height < 1 or width * height > self._max_pixels:
            raise ImageError(f"{width}×{height} is empty or more than the limit of {self._max_pixels} pixels")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.close()

    @functools.cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright pictures."""
        return self.at(0.0).size

    @functools.cached_property
    def times(self) -> list[float]:
        """When each picture is shown, in seconds from the first, ascending. `times[n - 1]` is that of frame n.

        The container has the times of most films, so no picture is decoded.

        Raises:
            ImageError: the film is damaged or has no pictures.
        """
        self._rewind()
        try:
            packets = [
                packet.pts for packet in self._container.demux(self._stream) if packet.size and not packet.is_discard
            ]
            if not packets or None in packets:
                self._rewind()
                packets = [self._stamp(frame) for frame in self._container.decode(self._stream)]
        except (self._av.FFmpegError, ValueError) as error:
            raise self._damaged(error) from error
        self._rewind()
        if not packets:
            raise ImageError("a film without pictures", str(self.path))
        packets.sort()
        return [self._seconds(pts) for pts in packets]

    def pictures(self) -> Iterator[Picture]:
        """All pictures in order."""
        self._rewind()
        number = 0
        while (frame := self._read()) is not None:
            number += 1
            yield Picture(number, self._seconds(self._stamp(frame)), self._image(frame))

    def at(self, seconds: float) -> Image.Image:
        """The picture that is shown at a moment, upright and in mode RGB.

        Args:
            seconds: from the film's first picture.

        Raises:
            ImageError: the film is damaged or over by then.
        """
        if self._now is None or not self._time(self._now) - _SAME <= seconds <= self._time(self._now) + _AHEAD:
            self._jump(seconds)
        while abs(self._time(self._now) - seconds) > _SAME:
            if self._next is None:
                self._next = self._decoded()
            if self._next is None:
                self._check_end(seconds)
                break
            if self._time(self._next) > seconds + _SAME:
                break
            self._now, self._next = self._next, None
        return self._image(self._now)

    def _jump(self, seconds: float) -> None:
        """Go to a picture at or before a moment from which decoding gives the same pictures as from the beginning."""
        rate = float(self._stream.average_rate or 0) or 25.0
        # Not to the last key frame: pictures shown before it but decoded after it may lack their reference pictures.
        start = seconds - max(_MARGIN, _REORDERED / rate)
        if start > 0:
            try:
                offset = self._start + int(start / float(self._stream.time_base))
                self._container.seek(offset, stream=self._stream, backward=True)
                self._begin()
                while (frame := self._read()) is not None:
                    if frame.key_frame and not frame.is_corrupt:
                        break
                if frame is not None and self._time(frame) <= start + _SAME:
                    self._now = frame
                    return
            except self._av.FFmpegError:
                pass  # a container without an index
        self._rewind()
        if self._read() is None:
            raise ImageError("a film without pictures", str(self.path))

    def _rewind(self) -> None:
        try:
            self._container.close()
            self._file.seek(0)
            self._open()
        except OSError as error:
            raise self._damaged(error) from error
        self._begin()

    def _begin(self) -> None:
        self._frames, self._now, self._next = self._container.decode(self._stream), None, None

    def _read(self) -> Any:
        """The next frame, which is now the current one; None at the end."""
        frame = self._decoded()
        if frame is not None:
            self._now = frame
        return frame

    def _decoded(self) -> Any:
        try:
            return next(self._frames, None)
        except (self._av.FFmpegError, ValueError) as error:
            # The decoder has ended, as at the film's end. Later moments do not show the last good picture.
            self._frames, self._now, self._next = iter(()), None, None
            raise self._damaged(error) from error

    def _check_end(self, seconds: float) -> None:
        last = self._time(self._now)
        if seconds > last + max(1.0, 2 / (float(self._stream.average_rate or 0) or 25.0)):
            raise ImageError(f"the film's last picture is at {last:.3f} s, before {seconds:.3f} s", str(self.path))

    @functools.cached_property
    def _start(self) -> int:
        """The first picture's time stamp."""
        return int(self._stream.start_time or 0)

    def _stamp(self, frame: Any) -> int:
        if frame.pts is None:
            raise ImageError(
                "its pictures have no times; write it anew, such as by `ffmpeg -fflags +genpts -i old -c copy new.mp4`",
                str(self.path),
            )
        return int(frame.pts)

    def _seconds(self, stamp: int) -> float:
        return round(float((stamp - self._start) * self._stream.time_base), 6)

    def _time(self, frame: Any) -> float:
        return self._seconds(self._stamp(frame))

    def _image(self, frame: Any) -> Image.Image:
        if frame.width * frame.height > self._max_pixels:  # a film may change its size
            raise ImageError(f"{frame.width}×{frame.height} is more than the limit of {self._max_pixels} pixels")
        image: Image.Image = frame.to_image()
        # The angle is counterclockwise, as Pillow's is.
        return image.rotate(frame.rotation, expand=True) if frame.rotation % 360 else image

    def _damaged(self, error: BaseException) -> ImageError:
        return ImageError(f"the film is damaged ({_short(error)})", str(self.path))


def film_hash(path: str | os.PathLike[str]) -> str:
    """`vpmsearch.data.images.content_hash` of a film, read piece by piece; remembered until the file changes.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
        return _film_hash(os.fspath(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})", str(path)) from error


@functools.lru_cache(maxsize=256)
def _film_hash(path: str, *_: int) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with open_regular(Path(path), _LARGEST, follow=True) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()[:32]


def _package() -> Any:
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise DataError("films need PyAV: pip install 'vpmsearch[video]'") from error
    av.logging.set_level(None)  # we report errors ourselves
    return av


def _short(error: BaseException) -> str:
    # Only the words of libav's errors: str() puts a number before them and an empty file name after them.
    told = getattr(error, "strerror", None) or str(error)
    return " ".join(told.split())[:200] or type(error).__name__
