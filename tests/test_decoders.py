"""Sounds that libsndfile does not read: what phones, browsers and films have, by content, damaged and forged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from multiview.audio import AudioError, decode, look_into, mono_blocks, opened, read_audio, stream
from multiview.decoders import BLOCK
from multiview.predict.predictor import Predictor
from tests import trees
from tests.fuzz.mutations import any_bytes
from tests.trees import ENCODED


def tone(rate: int, seconds: float = 2.0) -> np.ndarray:
    """500 Hz at 0.6 on the left, nothing on the right: float [samples, 2]."""
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([0.6 * np.sin(2 * np.pi * 500 * t), 0 * t], axis=1)


@pytest.mark.parametrize(("name", "codec", "container", "rate", "more"), ENCODED)
def test_what_phones_and_browsers_record_becomes_mono_at_the_rate(
    tmp_path: Path, name: str, codec: str, container: str, rate: int, more: int
) -> None:
    trees.write_encoded(tmp_path / name, tone(rate), rate, codec, container)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(tmp_path / name)
    waveform = read_audio(tmp_path / name, 22050)
    assert waveform.dtype == np.float32 and abs(len(waveform) - 2 * 22050) <= more * 22050 / rate + 1
    middle = waveform[11025 : 11025 + 22050]
    spectrum = 2 * np.abs(np.fft.rfft(middle)) / len(middle)  # 1 Hz a bin
    assert spectrum.argmax() == 500 and spectrum[500] == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(
    ("codec", "step"),
    [("pcm_u8", 2**-7), ("pcm_s16le", 2**-15), ("pcm_s32le", 2**-24), ("pcm_f32le", 0), ("pcm_f64le", 0),
     ("alac", 2**-15), ("wavpack", 2**-15)],
)  # fmt: skip
def test_lossless_samples_are_those_that_were_written(
    tmp_path: Path, codec: str, step: float, rng: np.random.Generator
) -> None:
    """Whatever the type: bytes without a sign, whole numbers, floats; interleaved or not."""
    sound = np.round(rng.uniform(-0.99, 0.99, (30_000, 2)) * 64) / 64  # what eight bits hold
    trees.write_encoded(tmp_path / "sound", sound, 22050, codec, "matroska")
    with opened(tmp_path / "sound") as file:
        assert file.samplerate == 22050
        blocks = list(file.blocks())
    np.testing.assert_allclose(np.concatenate(blocks), sound, atol=step, rtol=0)


def test_surround_is_averaged_over_all_its_channels(tmp_path: Path, rng: np.random.Generator) -> None:
    """Eight and more: PyAV itself reads beyond the eighth plane."""
    # The second codec's frames have a plane a channel.
    for layout, channels, codec in (("hexadecagonal", 16, "pcm_s32le"), ("7.1", 8, "wavpack")):
        sound = np.zeros((22050, channels))
        sound[:, channels - 1] = rng.integers(-32, 33, 22050) / 64  # what eight bits hold
        trees.write_encoded(tmp_path / layout, sound, 22050, codec, "matroska", layout)
        np.testing.assert_allclose(decode(tmp_path / layout)[0], sound.mean(axis=1), atol=2**-15)


def test_what_libsndfile_reads_is_as_it_was(tmp_path: Path, rng: np.random.Generator) -> None:
    """Bit for bit, at any length of block."""
    for name, subtype in (("a.wav", "PCM_16"), ("b.flac", "PCM_24"), ("c.ogg", "VORBIS"), ("d.mp3", None)):
        soundfile.write(tmp_path / name, rng.uniform(-0.5, 0.5, (BLOCK // 2 + 999, 2)), 44100, subtype=subtype)
        samples, _ = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
        np.testing.assert_array_equal(decode(tmp_path / name)[0], samples.mean(axis=1))


def test_a_long_recording_comes_in_blocks_and_the_same(tmp_path: Path) -> None:
    """The memory that a timeline takes does not grow: no block is much longer than the bound."""
    trees.write_encoded(tmp_path / "long.m4a", tone(44100, 45), 44100, "aac", "ipod")
    with opened(tmp_path / "long.m4a") as file:
        assert file.frames == pytest.approx(45 * 44100, abs=2048)
        sizes = [block.size for block in file.blocks()]
    assert len(sizes) > 2 and max(sizes) < BLOCK + 2**16
    with opened(tmp_path / "long.m4a") as file:
        parts = np.concatenate(list(stream(file, 22050)))
    whole = read_audio(tmp_path / "long.m4a", 22050)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_a_cut_recording_gives_what_is_there_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    trees.write_encoded(tmp_path / "whole.aac", tone(44100, 4), 44100, "aac", "adts")
    content = (tmp_path / "whole.aac").read_bytes()
    half = len(content) // 2
    whole, _ = decode(tmp_path / "whole.aac")
    (tmp_path / "end.aac").write_bytes(content[:half])
    (tmp_path / "begin.aac").write_bytes(content[half:])
    (tmp_path / "hole.aac").write_bytes(content[:half] + bytes(range(256)) * 2 + content[half + 512 :])
    end, _ = decode(tmp_path / "end.aac")
    begin, _ = decode(tmp_path / "begin.aac")
    assert 0.4 < len(end) / len(whole) < 0.55 and 0.4 < len(begin) / len(whole) < 0.55
    np.testing.assert_allclose(end[:-2048], whole[: len(end) - 2048], atol=1e-4)
    with pytest.raises(AudioError, match="unreadable"):
        decode(tmp_path / "hole.aac")


def test_lists_that_name_other_files_are_not_followed(tmp_path: Path) -> None:
    """FFmpeg plays lists of files and addresses, which a text in a folder of sounds must not make it do."""
    trees.write_encoded(tmp_path / "a.m4a", tone(44100), 44100, "aac", "ipod")
    (tmp_path / "concat").write_text("ffconcat version 1.0\nfile a.m4a\n")
    (tmp_path / "list").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.m4a\n#EXT-X-ENDLIST\n")
    (tmp_path / "session").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n")
    for name in ("concat", "list", "session"):
        with pytest.raises(AudioError, match="Format not recognised"):
            decode(tmp_path / name)
    for address in ("http://127.0.0.1:9/a.m4a", "concat:a.m4a|a.m4a", f"file:{tmp_path / 'a.m4a'}"):
        with pytest.raises(AudioError, match="no such file"):
            decode(address)


def test_a_name_is_never_an_address(tmp_path: Path) -> None:
    trees.write_encoded(tmp_path / "a.m4a", tone(44100), 44100, "aac", "ipod")
    for name in (b"http:x.m4a", b"50%,a&b?.m4a", b"\xe9\xff.m4a"):  # the last is no UTF-8
        path = Path(str(tmp_path), name.decode(errors="surrogateescape"))
        path.write_bytes((tmp_path / "a.m4a").read_bytes())
        assert len(decode(path)[0]) == len(decode(tmp_path / "a.m4a")[0])


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        track = file.add_stream("mpeg4", rate=25)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        for _ in range(5):
            file.mux(track.encode(av.VideoFrame(64, 64, "yuv420p")))
        file.mux(track.encode(None))
    with pytest.raises(AudioError, match="no sound in it"):
        decode(tmp_path / "film.mp4")


def test_a_folder_is_sorted_out_by_content(tmp_path: Path) -> None:
    trees.write_encoded(tmp_path / "deep" / "er" / "memo", tone(44100), 44100, "aac", "ipod")
    trees.write_tone(tmp_path / "b.dat", format="WAV")
    for name in ("damaged.m4a", "notes.txt", ".hidden.wav", "Thumbs.db", "__MACOSX/x.wav"):
        trees.touch(tmp_path / name)
    found = look_into(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.sounds] == ["b.dat", "damaged.m4a", "deep/er/memo"]
    assert found.unused(tmp_path) == [
        "not used, as no sound: 1 file: notes.txt",
        "not used, hidden or of the system: 3 files",
    ]


def test_predict_reads_them_as_prepare_does(tmp_path: Path, mel_meter: Predictor) -> None:
    paths = []
    for name, codec, container, rate, _ in ENCODED:
        trees.write_encoded(tmp_path / name, tone(rate), rate, codec, container)
        paths.append(tmp_path / name)
    for path, answer in zip(paths, mel_meter.predict_files(paths), strict=True):
        expected = mel_meter.predict(read_audio(path, 22050), 22050)
        np.testing.assert_allclose(answer.probabilities, expected.probabilities, atol=1e-6)


READER = """
import pathlib, sys
from multiview.audio import AudioError, decode
from tests.helpers.c_api import peak_memory
outcomes = [0, 0]
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        samples, rate = decode(path)
        assert len(samples) < 60 * rate
        outcomes[0] += 1
    except AudioError:
        outcomes[1] += 1
print(*outcomes, peak_memory())
"""


@pytest.mark.parametrize("count", [280, pytest.param(2800, marks=pytest.mark.long)])
def test_damaged_files_give_sound_or_one_error_in_bounded_memory(tmp_path: Path, count: int) -> None:
    """Sizes, counts and rates in headers forged, parts cut, doubled and overwritten."""
    rng, originals = np.random.default_rng(20213), []
    for name, codec, container, rate, _ in ENCODED:
        trees.write_encoded(tmp_path / "whole" / name, tone(rate), rate, codec, container)
        originals.append((tmp_path / "whole" / name).read_bytes())
    (tmp_path / "damaged").mkdir()
    for number in range(count):
        (tmp_path / "damaged" / f"{number:04}").write_bytes(any_bytes(originals[number % len(originals)], rng))
    call = [sys.executable, "-c", READER, str(tmp_path / "damaged")]
    done = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    sounds, errors, peak = map(float, done.stdout.split())
    assert sounds + errors == count and min(sounds, errors) > count / 10 and peak < 1024
    assert "Traceback" not in done.stderr


def test_samples_are_checked_whoever_decoded_them(tmp_path: Path) -> None:
    sound = np.full((9000, 1), np.nan)
    trees.write_encoded(tmp_path / "nan", sound, 22050, "pcm_f32le", "matroska")
    with opened(tmp_path / "nan") as file, pytest.raises(AudioError, match="NaN"):
        list(mono_blocks(file))
