"""What sound files are decoded with: libsndfile for what it reads, FFmpeg's libraries for the others.

A decoder goes by what is in a file, not by its name, and believes no length that a header states.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import soundfile

if TYPE_CHECKING:
    import av

BLOCK = 2**20  # samples of all channels together
# FFmpeg's names of the containers that are looked for: none of them makes it open another file or an address.
CONTAINERS = (
    "mov", "matroska", "asf", "aac", "loas", "amr", "caf", "mp3", "ogg", "wv", "ape", "tta", "ac3", "eac3", "flv",
    "avi", "mpegts", "mpeg",
)  # fmt: skip
# By which a file says that it is a sound: libsndfile's formats, of which RAW has no header, their other names, and
# those of the containers.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
SUFFIXES |= {".aif", ".aifc", ".mp3", ".oga", ".opus", ".snd"}
SUFFIXES |= {".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".3g2", ".webm", ".mka", ".mkv", ".wma", ".asf", ".aac"}
SUFFIXES |= {".amr", ".wv", ".ape", ".tta", ".ac3", ".eac3", ".flv", ".avi"}


UNKNOWN = "Format not recognised"  # in libsndfile's words


class AudioError(Exception):
    """A sound file that gives no usable waveform; the message says why."""


class Sound(Protocol):
    """An open sound file."""

    @property
    def samplerate(self) -> int:
        """In Hz."""

    @property
    def frames(self) -> int:
        """Samples a channel as the header states them, which may be anything; 0 where it states none."""

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples from here to the end of the file, float32 [samples, channels], a bounded number at a time.

        Raises
        ------
        AudioError
            Where the file is damaged.
        """


def check_place(path: str | Path) -> None:
    """Refuse what is no file that may be read, without waiting for it, as one would for who writes to a pipe.

    Raises
    ------
    AudioError
        That says why.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(path):
                raise AudioError("a folder without sound files")
        if not stat.S_ISREG(mode):
            raise AudioError("a pipe or device and no file; save what comes from it in one")
        with open(path, "rb"):
            return
    except FileNotFoundError as error:
        raise AudioError("no such file") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"unreadable ({getattr(error, 'strerror', None) or error})") from error


@contextmanager
def _refusing(*errors: type[Exception]) -> Iterator[None]:
    """Turn what a library raises into an `AudioError` with its reason."""
    try:
        yield
    except errors as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise AudioError(reason.rstrip(".")) from error


# libsndfile

_LIBSNDFILE_ERRORS = (OSError, RuntimeError, TypeError, ValueError)
UNKNOWN_BYTES = 2**31 - 2**16  # from here on stands for a length that who wrote the header did not know
# Silence takes hardly any bytes in those, and a bit a sample, or more, in all others.
_PACKED = re.compile("FLAC|VORBIS|OPUS|MPEG|ALAC")
_MOST_A_BYTE = 16  # samples
_CUT = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


class _Libsndfile:
    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file, self.samplerate, self.frames = file, file.samplerate, file.frames
        # For formats without compression it has the length that there is in place of the stated one, and says so in
        # its log.
        if (found := _CUT.search(file.extra_info)) and int(found[1]) < UNKNOWN_BYTES:
            self.frames = self.frames * int(found[1]) // max(1, int(found[2]))

    def blocks(self) -> Iterator[np.ndarray]:
        count = max(1, BLOCK // self._file.channels)
        while True:
            with _refusing(*_LIBSNDFILE_ERRORS):
                # Until there is no more: `SoundFile.blocks` would believe the header.
                block = self._file.read(count, dtype="float32", always_2d=True)
            if not len(block):
                return
            yield block


@contextmanager
def libsndfile(path: Path) -> Iterator[Sound]:
    """A file of any format that libsndfile reads."""
    with _refusing(*_LIBSNDFILE_ERRORS):
        # As bytes, for names that are not valid text.
        file = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path)
    with file:
        if file.format == "RAW":  # how it takes an .au file without a header
            raise AudioError("no header of a sound format")
        size, stated = os.stat(path).st_size, file.frames * file.channels
        if stated > _MOST_A_BYTE * size and not _PACKED.search(f"{file.format} {file.subtype}"):
            raise AudioError(f"{stated:,} samples by its header, in {size:,} bytes")  # libsndfile would give them, as 0
        yield _Libsndfile(file)


# FFmpeg


def _refusing_ffmpeg() -> AbstractContextManager[None]:
    import av

    return _refusing(av.FFmpegError, OSError, RuntimeError, ValueError, LookupError)


class _Ffmpeg:
    """The first sound track of a container, begun, as only what is decoded tells the rate."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self._decoded = self._decode(container)
        first = next(self._decoded, None)
        if first is None:
            raise AudioError("no samples")
        self._samples = _Interleaved()
        self._first, self.samplerate = self._samples(first), first.sample_rate
        stream = container.streams.audio[0]
        self.frames = max(0, int((stream.duration or 0) * (stream.time_base or 0) * self.samplerate))

    def _decode(self, container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
        """Frame after frame; what cannot be decoded may lie before the first and after the last, not between them."""
        broken: AudioError | None = None
        begun = False
        for packet in self._packets(container):
            try:
                with _refusing_ffmpeg():
                    frames = packet.decode()
            except AudioError as error:  # where a recording was cut
                broken = error
                continue
            for frame in frames:
                if broken and begun:
                    raise broken
                begun, broken = True, None
                yield cast("av.AudioFrame", frame)
        if broken and not begun:
            raise broken

    def _packets(self, container: av.container.InputContainer) -> Iterator[av.Packet]:
        with _refusing_ffmpeg():
            yield from container.demux(container.streams.audio[0])

    def blocks(self) -> Iterator[np.ndarray]:
        waiting, size = [self._first], self._first.size
        for frame in self._decoded:
            if frame.sample_rate != self.samplerate:
                raise AudioError(f"its rate changes from {self.samplerate} to {frame.sample_rate} Hz")
            samples = self._samples(frame)
            if size >= BLOCK or samples.shape[1] != waiting[0].shape[1]:
                yield np.concatenate(waiting)
                waiting, size = [], 0
            waiting.append(samples)
            size += samples.size
        yield np.concatenate(waiting)


class _Interleaved:
    """Frames of any of FFmpeg's formats as float32 [samples, channels], full scale at 1.

    FFmpeg converts them: of frames with a plane a channel, PyAV reads beyond the eighth, where nothing is.
    """

    def __init__(self) -> None:
        self._converters: dict[tuple[str, str], av.AudioResampler] = {}

    def __call__(self, frame: av.AudioFrame) -> np.ndarray:
        import av

        key = frame.format.name, frame.layout.name
        if key not in self._converters:  # a broadcast may go from one channel to two
            self._converters[key] = av.AudioResampler("flt")
        with _refusing_ffmpeg():
            parts = [part.to_ndarray() for part in self._converters[key].resample(frame)]
        return np.concatenate(parts, axis=1).reshape(-1, frame.layout.nb_channels)


@contextmanager
def ffmpeg(path: Path) -> Iterator[Sound]:
    """The sound in a file of one of `CONTAINERS`, films among them."""
    import av  # takes a while to load, and libsndfile reads most

    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        # By its protocol, as a name could be taken for an address.
        container = av.open(f"file:{path.absolute()}", "r", container_options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, RuntimeError, ValueError, LookupError) as error:
        raise AudioError(UNKNOWN) from error  # of FFmpeg's words here, none tells more
    with container:
        if not container.streams.audio:
            raise AudioError("no sound in it")
        yield _Ffmpeg(container)


DECODERS: tuple[Callable[[Path], AbstractContextManager[Sound]], ...] = (libsndfile, ffmpeg)  # the first that can
