"""Sound files in and out: formats, rates, bounded reading, and every way a file can be bad."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.errors import AudioError, TinyseError
from tinyse.sound import audio, audiofile
from tinyse.sound.audio import AudioFormat, AudioReader, Resampler, hops_of, pcm_blocks, pcm_bytes
from tinyse.sound.audiofile import audio_writer


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks())), reader.notes


def failure(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read(path)
    line = caught.value.line()
    assert "\n" not in line and str(path) in line
    return line


@pytest.mark.parametrize("name, subtype, tolerance", [
    ("a.wav", "PCM_16", 2.0**-15), ("a.wav", "PCM_24", 2.0**-23), ("a.wav", "PCM_32", 2.0**-24),
    ("a.wav", "FLOAT", 0.0), ("a.wav", "DOUBLE", 0.0), ("a.wav", "PCM_U8", 2.0**-7),
    ("a.flac", "PCM_16", 2.0**-15), ("a.aiff", "PCM_24", 2.0**-23),
])
def test_formats_are_read_to_their_precision(tmp_path, name, subtype, tolerance):
    soundfile.write(tmp_path / name, tone(16000), 16000, subtype)
    wave, notes = read(tmp_path / name)
    np.testing.assert_allclose(wave, tone(16000), atol=tolerance)
    assert wave.dtype == np.float32 and notes == []


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_other_rates_arrive_aligned_at_16_khz(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate, 2.0), rate, "FLOAT")
    wave, _ = read(tmp_path / "a.wav")
    assert abs(len(wave) - 32000) <= 1
    np.testing.assert_allclose(wave[2000:30000], tone(16000, 2.0)[2000:30000], atol=1e-4)


def test_streamed_resampling_equals_the_whole(monkeypatch, tmp_path):
    import soxr

    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 30000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 44100, "FLOAT")
    monkeypatch.setattr(audio, "BLOCK", 999)
    offset = wave[:999].mean(dtype=np.float32)  # what lies beyond the ends
    whole = soxr.resample(wave - offset, 44100, 16000, "VHQ") + offset
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], whole, atol=1e-6)


def test_channels_are_averaged_with_a_note(tmp_path):
    left, right = tone(16000), tone(16000, hertz=880)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16000, "FLOAT")
    wave, notes = read(tmp_path / "a.wav")
    np.testing.assert_allclose(wave, (left + right) / 2, atol=1e-7)
    assert notes == ["2 channels mixed down to mono"]


def test_clipping_is_a_note_and_a_peak_is_not(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.clip(4 * tone(16000), -1, 1), 16000)
    assert read(tmp_path / "a.wav")[1] == ["clipped: runs of samples at full scale: 880"]
    peak = tone(16000)
    peak[[100, 300, 301]] = 1
    soundfile.write(tmp_path / "b.wav", peak, 16000)
    assert read(tmp_path / "b.wav")[1] == []


def test_bad_paths(tmp_path):
    assert failure(tmp_path / "gone.wav").endswith(
        "gone.wav: no such file (give the name of a sound file)")
    assert failure(tmp_path).endswith(": is a folder (give a sound file)")


@pytest.mark.parametrize("content, said", [
    (b"", "is empty"),
    (b"hello, this is text\n" * 50, "not a sound file: Format not recognised"),
    (b"RIFF\x24\x00\x00\x00WAVEfmt ", "not a sound file"),
])
def test_files_that_are_not_audio(tmp_path, content, said):
    (tmp_path / "a.wav").write_bytes(content)
    assert said in failure(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("keep", [0.7, 0.01])
def test_truncated_wav(tmp_path, subtype, keep):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16000), 16000, subtype)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "cut short: the header promises" in failure(path)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg"])
def test_truncated_streams(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64000), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short" in failure(path) or "unreadable" in failure(path)


def test_a_wav_written_to_a_pipe_is_no_damage(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16000), 16000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(read(path)[0]) == 16000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, value):
    wave = tone(16000)
    wave[70] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, "FLOAT")
    assert "sample 70 is not a finite number" in failure(tmp_path / "a.wav")


def test_what_is_no_sound_though_finite(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0, 0, -3e38]), 16000, "FLOAT")
    assert "sample 2 is 3e+38 (export it again as PCM)" in failure(tmp_path / "a.wav")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_clipping_is_counted_across_blocks(tmp_path, monkeypatch, block):
    wave = np.array([1] * 5 + [0] + [1] * 2 + [0] * 3 + [-1] * 9 + [0.5] + [1] * 3)
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    monkeypatch.setattr(audio, "BLOCK", block)
    assert read(tmp_path / "a.wav")[1] == ["clipped: runs of samples at full scale: 3"]


def test_too_low_a_rate_and_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(4000), 4000)
    assert "4000 Hz is too low (8000 to 768000 Hz is read)" in failure(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 16000)
    assert "holds no samples" in failure(tmp_path / "b.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything; run as another user")
def test_unreadable(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    (tmp_path / "a.wav").chmod(0)
    assert "Permission denied" in failure(tmp_path / "a.wav")


def test_reading_is_in_bounded_blocks(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((200_000, 4)), 48000)
    with AudioReader(tmp_path / "a.wav") as reader:
        assert max(len(block) for block in reader.blocks()) <= audio.BLOCK // 4


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("frames", [1, 999, 44100])
def test_written_files_have_the_exact_length_rate_and_format(tmp_path, rate, frames):
    like = AudioFormat(rate, 2, frames, "PCM_24")
    with audio_writer(tmp_path / "a.wav", like) as writer:
        for block in np.array_split(tone(16000, frames / rate + 0.01), 7):
            writer.write(block)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (frames, rate, 1, "PCM_24")


def test_a_short_signal_is_made_up_with_silence_and_loud_samples_saturate(tmp_path):
    with audio_writer(tmp_path / "a.wav", AudioFormat(16000, 1, 6, "PCM_16")) as writer:
        writer.write(np.array([0.5, 2.0, -2.0], np.float32))
    wave, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    np.testing.assert_array_equal(wave, [16384, 32767, -32768, 0, 0, 0])


@pytest.mark.parametrize("name, subtype, expected", [
    ("a.flac", "FLOAT", "PCM_16"), ("a.flac", "PCM_24", "PCM_24"), ("a.wav", "VORBIS", "PCM_16"),
    ("a.ogg", "PCM_16", "VORBIS"),
])
def test_a_container_without_the_sample_format_takes_its_own(tmp_path, name, subtype, expected):
    with audio_writer(tmp_path / name, AudioFormat(16000, 1, 0, subtype)) as writer:
        writer.write(tone(16000))
    assert soundfile.info(tmp_path / name).subtype == expected


@pytest.mark.parametrize("name, subtype, rate, expected", [
    ("a.wav", "MPEG_LAYER_III", 16000, "PCM_16"), ("a.wav", "OPUS", 48000, "PCM_16"),
    ("a.aiff", "DWVW_12", 16000, "PCM_16"), ("a.aiff", "VORBIS", 8000, "PCM_16"), ("a.ogg", "OPUS", 22050, "VORBIS"),
    ("a.ogg", "OPUS", 44100, "VORBIS"), ("a.ogg", "OPUS", 48000, "OPUS"), ("a.flac", "ALAC_16", 44100, "PCM_16"),
    ("a.wav", "GSM610", 16000, "PCM_16"), ("a.wav", "IMA_ADPCM", 16000, "PCM_16"), ("a.wav", "ULAW", 8000, "ULAW")])
def test_a_sample_format_is_tried_before_it_is_promised(tmp_path, name, subtype, rate, expected):
    with audio_writer(tmp_path / name, AudioFormat(rate, 1, 16000, subtype)) as writer:
        writer.write(tone(16000))
    info = soundfile.info(tmp_path / name)
    assert (info.subtype, info.frames) == (expected, 16000)


def test_a_codec_that_cannot_seek_is_read(tmp_path):
    soundfile.write(tmp_path / "a.aiff", tone(16000, 9), 16000, "DWVW_16")
    np.testing.assert_allclose(read(tmp_path / "a.aiff")[0], tone(16000, 9), atol=2**-15)


def test_a_rate_that_a_container_lacks_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"a.flac: FLAC cannot be written at 768000 Hz"), \
            audio_writer(tmp_path / "a.flac", AudioFormat(768000, 1, 0, "PCM_16")):
        pass


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
def test_more_than_a_wav_holds_is_an_rf64_and_an_aiff_is_refused(tmp_path, monkeypatch, subtype):
    monkeypatch.setattr(audiofile, "LARGEST_32", 20000)
    like = AudioFormat(16000, 1, 16000, subtype)
    with audio_writer(tmp_path / "a.wav", like) as writer:
        writer.write(tone(16000))
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RF64"
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], tone(16000), atol=2**-15)
    with pytest.raises(AudioError, match="more than an AIFF holds"), audio_writer(tmp_path / "a.aiff", like):
        pass
    with audio_writer(tmp_path / "b.wav", AudioFormat(16000, 1, 0, subtype)) as writer:  # who knows how much comes
        writer.write(tone(16000))
    assert (tmp_path / "b.wav").read_bytes()[:4] == b"RIFF" and soundfile.info(tmp_path / "b.wav").format == "WAV"
    np.testing.assert_allclose(read(tmp_path / "b.wav")[0], tone(16000), atol=2**-15)


def test_a_float_file_says_how_far_it_reaches_beyond_full_scale(tmp_path):
    soundfile.write(tmp_path / "a.wav", 2 * 32768 * tone(16000), 16000, "FLOAT")
    assert read(tmp_path / "a.wav")[1] == [
        "samples reach 90.3 dB beyond full scale (32768 where 1 is full scale): scale them to -1..1"]
    for subtype in ("FLOAT", "PCM_16"):
        soundfile.write(tmp_path / "b.wav", np.array([0.5, -1, 0.5, 1, 0] * 100), 16000, subtype)
        assert read(tmp_path / "b.wav")[1] == []


@pytest.mark.parametrize("rate", [22050, 48000])
def test_an_offset_makes_no_step_where_rates_are_converted(rate):
    resampler = Resampler(rate, 16000)
    blocks = [resampler.push(np.full(5000, 0.3, np.float32)) for _ in range(3)]
    np.testing.assert_allclose(np.concatenate([*blocks, resampler.flush()]), 0.3, atol=1e-6)


def test_pipes_and_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(TinyseError, match="a.wav: is a pipe or a device"), \
            audio_writer(tmp_path / "a.wav", AudioFormat(16000, 1, 0, "PCM_16")):
        pass
    assert (tmp_path / "a.wav").is_fifo()


@pytest.mark.parametrize("stem", ["x" * 251, "\u00fc" * 125, os.fsdecode(b"caf\xe9")])
def test_long_and_foreign_names(tmp_path, stem):
    path = tmp_path / f"{stem}.wav"
    with audio_writer(path, AudioFormat(16000, 1, 0, "PCM_16")) as writer:
        writer.write(tone(16000))
    assert len(read(path)[0]) == 16000 and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TinyseError, match="File name too long"), \
            audio_writer(tmp_path / ("y" * 260 + ".wav"), AudioFormat(16000, 1, 0, "PCM_16")):
        pass


@pytest.mark.parametrize("frames", [0, 16000])
def test_the_same_samples_give_the_same_bytes(tmp_path, frames):
    for number in range(2):
        with audio_writer(tmp_path / f"{number}.wav", AudioFormat(16000, 1, frames, "FLOAT")) as writer:
            writer.write(tone(16000))
        start = (tmp_path / "0.wav").read_bytes()[:200]
        if b"PEAK" in start:  # of a file that might have grown beyond 4 GiB
            at = start.index(b"PEAK") + 12
            assert not frames and start[at:at + 4] == bytes(4)
    assert (tmp_path / "0.wav").read_bytes() == (tmp_path / "1.wav").read_bytes()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_nothing_or_what_was_there(tmp_path, error):
    path = tmp_path / "a.wav"
    path.write_bytes(b"before")
    with pytest.raises(error), audio_writer(path, AudioFormat(16000, 1, 0, "PCM_16")) as writer:
        writer.write(tone(16000))
        raise error
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_bad_targets(tmp_path):
    form = AudioFormat(16000, 1, 0, "PCM_16")
    with pytest.raises(AudioError, match="unknown sound format .xyz"), audio_writer(tmp_path / "a.xyz", form):
        pass
    (tmp_path / "d.wav").mkdir()
    with pytest.raises(AudioError, match="is a folder"), audio_writer(tmp_path / "d.wav", form):
        pass
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "a.wav"
    with pytest.raises(TinyseError, match="cannot be written"), audio_writer(inside, form):
        pass


@given(st.lists(st.integers(0, 700), max_size=8), st.sampled_from([1, 100, 256]))
def test_hops_hold_every_sample_once(lengths, hop):
    wave = np.arange(1, sum(lengths) + 1, dtype=np.float32)
    hops = list(hops_of(np.split(wave, np.cumsum(lengths)[:-1]) if lengths else [], hop))
    assert all(len(h) == hop for h in hops) and len(hops) == -(-len(wave) // hop)
    joined = np.concatenate([np.zeros(0), *hops])
    np.testing.assert_array_equal(joined[: len(wave)], wave)
    assert not joined[len(wave) :].any()


@given(st.lists(st.integers(-32768, 32767), max_size=600))
def test_pcm_round_trips(samples):
    data = np.array(samples, "<i2").tobytes()
    blocks = list(pcm_blocks(io.BytesIO(data), 256))
    assert all(len(block) <= 256 for block in blocks)
    assert b"".join(map(pcm_bytes, blocks)) == data


def test_pcm_saturates_and_refuses_half_a_sample():
    assert pcm_bytes(np.array([1.5, -1.5], np.float32)) == np.array([32767, -32768], "<i2").tobytes()
    blocks = pcm_blocks(io.BytesIO(b"\0\0\0\0\0"), 256)
    assert len(next(blocks)) == 2
    with pytest.raises(AudioError, match="half a sample"):
        next(blocks)


def test_equal_rates_pass_through():
    wave = tone(16000)
    resampler = Resampler(16000, 16000)
    assert resampler.push(wave) is wave and not len(resampler.flush())
