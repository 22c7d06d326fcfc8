"""Enhancing files and pipes: alignment, length, latency, bounded memory, nothing left half-written."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import BANDS, tiny_tflite

from tinyse.core.errors import AudioError, ModelError, TinyseError
from tinyse.engines.enhance import Pipe, enhance_file, enhance_signal
from tinyse.engines.tflm import TflmEngine
from tinyse.sound import Bands, Ends, applied, features, istft, stft
from tinyse.sound.audio import AudioReader

HOP = 256


class Wiener:
    """An engine with memory: keeps what stands out of a slow average. ``after`` frames it may be stopped."""

    name, update_rate, exit_rates = "wiener", None, ()
    bands = BANDS
    ends = Ends()

    def __init__(self, stop_after: int | None = None):
        self.stop_after = stop_after
        self.reset()

    def reset(self) -> None:
        self.floor = np.zeros(BANDS, np.float32)
        self.frames = 0

    def mask(self, feature: np.ndarray) -> np.ndarray:
        if self.frames == self.stop_after:
            raise KeyboardInterrupt
        self.frames += 1
        self.floor += 0.1 * (feature - self.floor)
        return feature / (feature + self.floor + 1e-3)


class Open(Wiener):
    """Lets everything pass."""

    name = "open"

    def mask(self, feature: np.ndarray) -> np.ndarray:
        return np.ones(BANDS, np.float32)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def whole_file(wave: np.ndarray, engine) -> np.ndarray:
    """Enhancement in one transform, the definition that streams are held to."""
    engine.reset()
    padded = np.pad(wave, (HOP, HOP + -len(wave) % HOP), mode="edge")
    spectrum = stft(padded)
    masks = np.array([engine.mask(feature) for feature in features(spectrum)])
    return istft(applied(spectrum, masks))[HOP : HOP + len(wave)]


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(1, 5000), seed=st.integers(0, 9))
def test_a_signal_is_enhanced_as_in_one_transform(samples, seed):
    wave = noise(samples, seed)
    np.testing.assert_allclose(enhance_signal(wave, Wiener()), whole_file(wave, Wiener()), atol=1e-6)


def test_an_empty_signal_stays_empty():
    assert enhance_signal(np.zeros(0, np.float32), Wiener()).shape == (0,)


def test_a_tflm_stream_is_enhanced_as_in_one_transform():
    wave = noise(20000)
    engine = TflmEngine.of_bytes(tiny_tflite())
    np.testing.assert_allclose(enhance_signal(wave, engine), whole_file(wave, engine), atol=1e-6)


def test_a_file_gives_what_the_signal_gives(tmp_path):
    wave = noise(30001)
    soundfile.write(tmp_path / "in.wav", wave, 16000, "FLOAT")
    done = enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Wiener())
    out, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_array_equal(out, enhance_signal(wave, Wiener()))
    assert (done.seconds, done.rate, done.engine, done.notes) == (30001 / 16000, 16000, "wiener", ())


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_come_back_aligned_and_as_long(tmp_path, rate):
    time = np.arange(rate * 2 + 7) / rate
    wave = (0.4 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", np.stack([wave, wave], 1), rate, "PCM_24")
    done = enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Open())
    out, out_rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert (out_rate, out.shape) == (rate, wave.shape)
    assert done.notes == ("2 channels mixed down to mono",)
    # The filterbank's triangles sum to 1 between its edges, so an open mask leaves 1 kHz as it was.
    np.testing.assert_allclose(out[rate // 2 : rate], wave[rate // 2 : rate], atol=2e-3)


def test_a_file_does_not_replace_itself(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(5000), 16000, "FLOAT")
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(TinyseError, match=r"a\.wav: is the input as well"):
        enhance_file(tmp_path / "a.wav", tmp_path / "a.wav", Wiener())
    assert (tmp_path / "a.wav").read_bytes() == before


def test_the_same_file_gives_the_same_bytes(tmp_path):
    soundfile.write(tmp_path / "in.wav", noise(9000), 44100, "FLOAT")
    engine = Wiener()
    for name in ("1.wav", "2.wav"):
        enhance_file(tmp_path / "in.wav", tmp_path / name, engine)
    assert (tmp_path / "1.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()


class Recording(io.BytesIO):
    """Notes how much input was taken when each output is flushed."""

    def __init__(self, source: io.BytesIO):
        super().__init__()
        self.source = source
        self.flushed: list[tuple[int, int]] = []

    def flush(self) -> None:
        self.flushed.append((self.source.tell(), self.tell()))


@pytest.mark.parametrize("samples", [1, 256, 1000, 2560])
def test_a_pipe_answers_each_hop_at_once_and_lags_by_one(samples):
    wave = np.round(noise(samples) * 32768).astype("<i2")
    source = io.BytesIO(wave.tobytes())
    target = Recording(source)
    enhance_file("-", "-", Wiener(), pipe=Pipe(source, target))
    out = np.frombuffer(target.getvalue(), "<i2")
    assert len(out) == samples + HOP
    expected = enhance_signal(wave.astype(np.float32) / 32768, Wiener()) * 32768
    assert np.abs(out[HOP:] - expected).max() <= 0.5 + 1e-2
    for taken, given_back in target.flushed[: samples // HOP]:
        assert taken == given_back


def test_pipes_of_another_rate_and_mixed_ends(tmp_path):
    wave = np.round(0.4 * 32767 * np.sin(np.arange(16000) * 2 * np.pi * 500 / 8000)).astype("<i2")
    target = io.BytesIO()
    done = enhance_file("-", "-", Open(), pipe=Pipe(io.BytesIO(wave.tobytes()), target, 8000))
    assert done.seconds == pytest.approx(2.0, abs=1e-3)
    out = np.frombuffer(target.getvalue(), "<i2").astype(float)
    assert abs(len(out) - 16000 - HOP // 2) <= 1
    np.testing.assert_allclose(out[HOP // 2 :][4000:8000], wave[4000:8000], atol=100)
    enhance_file("-", tmp_path / "a.wav", Open(), pipe=Pipe(io.BytesIO(wave.tobytes()), io.BytesIO(), 8000))
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.subtype) == (8000, "PCM_16") and abs(info.frames - 16000) <= 1
    target = io.BytesIO()
    enhance_file(tmp_path / "a.wav", "-", Open(), pipe=Pipe(io.BytesIO(), target, 16000))
    assert abs(len(target.getvalue()) // 2 - 32000 - HOP) <= 2


@pytest.mark.parametrize("rate", [16000, 44100])
def test_an_interrupt_leaves_nothing(tmp_path, rate):
    soundfile.write(tmp_path / "in.wav", noise(100000), rate)
    with pytest.raises(KeyboardInterrupt):
        enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Wiener(stop_after=50))
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_bad_sound_in_the_middle_leaves_nothing(tmp_path):
    wave = noise(200000)
    wave[150000] = np.nan
    soundfile.write(tmp_path / "in.wav", wave, 16000, "FLOAT")
    with pytest.raises(AudioError, match="sample 150000 is not a finite number"):
        enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Wiener())
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_memory_does_not_grow_with_length(tmp_path):
    def peak(seconds: int) -> int:
        with soundfile.SoundFile(tmp_path / "in.wav", "w", 32000, 2, "PCM_16") as sound:
            for _ in range(seconds):
                sound.write(np.zeros((32000, 2), np.int16))
        tracemalloc.start()
        enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Open())
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(2)  # first use imports and builds tables
    assert peak(40) < peak(4) + 500_000


def test_progress_counts_seconds(tmp_path):
    soundfile.write(tmp_path / "in.wav", noise(16000 * 3), 16000)
    steps = []
    enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Open(), steps.append)
    assert [round(step.done, 1) for step in steps] == [1.0, 2.0, 3.0, 3.0]
    assert {(step.task, step.total) for step in steps} == {("enhance", 3.0)}


def test_unusable_ends():
    with pytest.raises(AudioError, match="no pipe"):
        enhance_file("-", "-", Open())
    with pytest.raises(AudioError, match="4000 Hz is too low"):
        enhance_file("-", "-", Open(), pipe=Pipe(io.BytesIO(), io.BytesIO(), 4000))
    with pytest.raises(AudioError, match="-: 768001 Hz is too high"):
        enhance_file("-", "-", Open(), pipe=Pipe(io.BytesIO(), io.BytesIO(), 768001))
    with pytest.raises(AudioError, match="-: is empty"):
        enhance_file("-", "-", Open(), pipe=Pipe(io.BytesIO(), io.BytesIO()))
    with pytest.raises(AudioError, match="^.: is a folder"):
        enhance_file("", "a.wav", Open())
    with pytest.raises(ModelError, match="128 values to 128, its ends are 64 to 64"):
        enhance_file("a.wav", "b.wav", TflmEngine.of_bytes(tiny_tflite(), ends=Ends(bands=Bands(count=64))))


def level_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=float)) + 1e-12))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("length", [0, 100])
def test_an_offset_makes_no_step_at_either_end(tmp_path, rate, length):
    """What is left of a step of 5 % of full scale is not above what the same sound leaves without."""
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(rate + length)
    ends = []
    for offset in (0, 0.05):
        soundfile.write(tmp_path / "in.wav", quiet + offset, rate, "FLOAT")
        enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Open())
        out, _ = soundfile.read(tmp_path / "out.wav")
        ends.append([level_db(out[:rate // 50]), level_db(out[-rate // 50:])])
    np.testing.assert_allclose(ends[1], ends[0], atol=1)


def test_an_offset_makes_no_step_on_a_pipe():
    wave = np.full(5000, 1638, "<i2")
    target = io.BytesIO()
    enhance_file("-", "-", Open(), pipe=Pipe(io.BytesIO(wave.tobytes()), target))
    assert np.abs(np.frombuffer(target.getvalue(), "<i2")).max() <= 1


@pytest.mark.parametrize("rate, channels, subtype", [(16000, 1, "PCM_16"), (44100, 2, "PCM_24"), (8000, 1, "FLOAT")])
def test_a_wav_on_a_pipe_is_read_by_its_header(tmp_path, rate, channels, subtype):
    wave = noise(rate)
    soundfile.write(tmp_path / "in.wav", np.stack([wave] * channels, 1), rate, subtype)
    data = (tmp_path / "in.wav").read_bytes()
    target = io.BytesIO()
    enhance_file("-", "-", Wiener(), pipe=Pipe(io.BytesIO(data), target))
    piped = np.frombuffer(target.getvalue(), "<i2")[HOP:] / 32768
    enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Wiener())
    with AudioReader(tmp_path / "out.wav") as reader:
        expected = np.concatenate(list(reader.blocks()))
    tolerance = 2**-15 if rate == 16000 else 0.03
    np.testing.assert_allclose(piped[1000:len(expected) - 1000], expected[1000:-1000], atol=tolerance)
    done = enhance_file("-", tmp_path / "piped.wav", Wiener(), pipe=Pipe(io.BytesIO(data), None))
    info = soundfile.info(tmp_path / "piped.wav")
    assert (info.samplerate, info.subtype, done.rate) == (rate, subtype, rate) and abs(info.frames - rate) <= 1


def test_a_wav_on_a_pipe_streams():
    """Hops go out as they come in: what is written never waits for more than is needed."""
    wave = np.round(noise(2560) * 32768).astype("<i2")
    header = io.BytesIO()
    soundfile.write(header, wave, 16000, format="WAV")
    source = io.BytesIO(header.getvalue())
    source.seekable = lambda: False
    target = Recording(source)
    enhance_file("-", "-", Wiener(), pipe=Pipe(source, target))
    for taken, given_back in target.flushed[:10]:
        assert taken - 44 == given_back


@pytest.mark.parametrize("end, ends", [("input", ("-", "o.wav")), ("output", ("a.wav", "-"))])
def test_a_closed_end_is_named(end, ends):
    with pytest.raises(AudioError, match=f"-: standard {end} is closed"):
        enhance_file(*ends, Open(), pipe=Pipe(None, None))


@pytest.mark.parametrize("scale, said", [
    (0.001, "active level is -71 dBFS"), (32768, "dB beyond full scale"), (0.05, "")])
def test_levels_that_no_model_expects_are_one_note(tmp_path, scale, said):
    soundfile.write(tmp_path / "in.wav", noise(32000) * scale, 16000, "FLOAT")
    notes = enhance_file(tmp_path / "in.wav", tmp_path / "out.wav", Open()).notes
    assert len(notes) == bool(said) and said in "".join(notes)
