"""Peers behind one interface: aligned outputs, rates, sizes; adapters themselves where their packages are installed."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_models import tiny_trained
from tinyse.bench import onnxfile, peer, rnnoise
from tinyse.bench.contenders import Contender, Unprocessed
from tinyse.bench.onnxsize import count_macs, count_parameters
from tinyse.bench.ours import Model
from tinyse.bench.packages import installed
from tinyse.bench.peers import PEERS
from tinyse.bench.speed import measure
from tinyse.core.errors import ModelError, ToolError
from tinyse.engines.keras import KerasEngine

RATE = 16000


def speechlike(seconds=2.0, seed=0):
    """A gliding harmonic tone in bursts of 0.3 s, with a little noise far below it; float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(k * phase + k) / k for k in range(1, 24))
    bursts = np.clip(4 * np.sin(2 * np.pi * 1.7 * time), 0, 1)
    return (0.1 * voice * bursts + 1e-4 * rng.standard_normal(len(time))).astype(np.float32)


def lag(late, early, most=2000):
    """Samples by which ``late`` follows ``early``, from the peak of their cross-correlation."""
    size = 1 << (2 * len(late)).bit_length()
    spectrum = np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size))
    correlation = np.roll(np.fft.irfft(spectrum, size), most)[: 2 * most + 1]
    return int(correlation.argmax()) - most


class Late(peer.Framed):
    """Gives back what it got ``delay`` samples ago."""

    def __init__(self, rate, hop, delay):
        self.rate, self.hop, self.delay = rate, hop, delay
        self.reset()

    def reset(self):
        self.held = np.zeros(self.delay, np.float32)

    def push(self, frame):
        self.held = np.concatenate([self.held, frame])
        done, self.held = self.held[: self.hop], self.held[self.hop:]
        return done


@given(samples=st.integers(1, 3000), hop=st.integers(1, 600), delay=st.integers(0, 1500))
def test_a_delay_is_taken_out_exactly_and_the_length_stays(samples, hop, delay):
    wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    np.testing.assert_array_equal(peer.enhance(Late(RATE, hop, delay), wave), wave)


@pytest.mark.parametrize(("own", "given_rate"), [(48000, 16000), (16000, 48000), (48000, 44100)])
def test_resampling_there_and_back_delays_nothing(own, given_rate):
    wave = speechlike()[: RATE]
    wave = peer.resample(wave, RATE, given_rate)
    output = peer.enhance(Late(own, 480, 960), wave, given_rate)
    assert output.shape == wave.shape
    middle = slice(1000, -1000)
    error = np.sqrt(np.mean(np.square((output - wave)[middle])) / np.mean(np.square(wave[middle])))
    assert error < 0.003  # a shift by a tenth of a sample alone makes more


def test_nothing_in_nothing_out():
    assert peer.enhance(Late(48000, 480, 960), np.zeros(0, np.float32)).shape == (0,)


def test_latency_counts_the_hop_that_must_arrive():
    assert peer.latency_ms(Late(16000, 256, 256)) == 32.0


def test_a_file_keeps_rate_and_length(tmp_path):
    rate = 22050
    wave = peer.resample(speechlike(1.0), RATE, rate)
    soundfile.write(tmp_path / "in.wav", wave, rate)
    peer.enhance_file(Late(48000, 480, 480), tmp_path / "in.wav", tmp_path / "out.wav")
    output, found = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert (found, len(output)) == (rate, len(wave))
    assert lag(output, wave) == 0


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_pcm_bytes_come_back(values):
    frame = np.array(values, np.float32) / 32768
    np.testing.assert_array_equal(peer.from_pcm(peer.to_pcm(frame)), frame)


def test_pcm_saturates():
    assert list(peer.from_pcm(peer.to_pcm(np.array([2.0, -2.0], np.float32)))) == [32767 / 32768, -1.0]


def test_our_model_is_aligned_and_does_what_evaluation_does():
    from tinyse.measure.scores.scoring import stream

    engine = KerasEngine(tiny_trained())
    wave = speechlike(1.0)
    model = Model(engine)
    assert peer.latency_ms(model) == 32.0
    np.testing.assert_array_equal(peer.enhance(model, wave), stream(engine, wave))


def test_unprocessed_is_the_input():
    wave = speechlike(0.3)
    np.testing.assert_array_equal(peer.enhance(Unprocessed(), wave), wave)


def test_speed_is_measured():
    assert 0 < measure(Late(16000, 256, 256), 1.0, 1) < 1


def tensor(name, shape, kind=1):
    fields = b"".join(bytes([8, size]) for size in shape) + bytes([16, kind])
    return fields + onnxfile._field(8, name.encode())


def node(kind, inputs, outputs, **texts):
    data = b"".join(onnxfile._field(1, name.encode()) for name in inputs)
    data += b"".join(onnxfile._field(2, name.encode()) for name in outputs) + onnxfile._field(4, kind.encode())
    for name, text in texts.items():
        data += onnxfile._field(5, onnxfile._field(1, name.encode()) + onnxfile._field(4, text.encode()))
    return onnxfile._field(1, data)


def model(*parts):
    return onnxfile._field(7, b"".join(parts))


def constant(name, shape, kind=1):
    return onnxfile._field(5, tensor(name, shape, kind))


COUNTS = [
    ("MatMul", ["x", "w"], {"x": (2, 3, 5), "w": (5, 7), "y": (2, 3, 7)}, {}, 2 * 3 * 5 * 7),
    ("Gemm", ["x", "w"], {"x": (4, 5), "w": (5, 7), "y": (4, 7)}, {}, 4 * 5 * 7),
    ("Conv", ["x", "w"], {"x": (1, 8, 10, 20), "w": (6, 4, 3, 3), "y": (1, 6, 8, 18)}, {}, 6 * 8 * 18 * 4 * 9),
    ("ConvTranspose", ["x", "w"], {"x": (1, 8, 1, 20), "w": (8, 4, 1, 3), "y": (1, 4, 1, 40)}, {}, 8 * 20 * 4 * 3),
    ("GRU", ["x", "w", "r"], {"x": (9, 1, 5), "w": (1, 12, 5), "r": (1, 12, 4)}, {}, 9 * 12 * (5 + 4)),
    ("LSTM", ["x", "w", "r"], {"x": (9, 2, 5), "w": (2, 16, 5), "r": (2, 16, 4)}, {}, 9 * 2 * 2 * 16 * (5 + 4)),
    ("Einsum", ["x", "w"], {"x": (2, 3, 4), "w": (3, 4, 5), "y": (2, 3, 5)}, {"equation": "bgi, gih->bgh"},
     2 * 3 * 4 * 5),
]


@pytest.mark.parametrize(("kind", "inputs", "shapes", "texts", "wanted"), COUNTS)
def test_multiply_accumulates_of_a_layer(kind, inputs, shapes, texts, wanted):
    graph = onnxfile.read_graph(model(node(kind, inputs, ["y"], **texts), node("Relu", ["y"], ["z"])))
    assert count_macs(graph, shapes) == [wanted]


def test_parameters_leave_out_scalars_and_integers():
    graph = onnxfile.read_graph(model(node("MatMul", ["x", "w"], ["y"]), constant("w", (5, 7)), constant("b", (7,)),
                                      constant("power", ()), constant("one", (1,)), constant("shape", (4,), kind=7)))
    assert count_parameters(graph) == 5 * 7 + 7


@given(st.binary(max_size=80))
def test_what_is_no_model_is_refused(data):
    try:
        assert onnxfile.read_graph(data).nodes
    except ModelError as error:
        assert error.hint


def test_added_outputs_are_read_as_part_of_the_same_graph():
    data = onnxfile.with_outputs(model(node("Relu", ["x"], ["y"])), ["y" * 200])
    assert [each.kind for each in onnxfile.read_graph(data).nodes] == ["Relu"]


def test_rnnoise_counts_a_matrix_once():
    found = {"a_weights_int8": 32, "a_weights_float": 128, "a_weights_idx": 8, "a_subias": 16, "a_bias": 16,
             "a_scale": 16, "b_weights_float": 40, "a_weights_diag": 12}
    size = rnnoise.size_of(found)
    assert size.parameters == 32 + 4 + 10 + 3
    assert size.macs == (32 + 10 + 3) * 100
    assert size.weight_bytes == 32 + 8 + 16 + 16 + 40 + 12


def test_a_peer_that_is_not_installed_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSE_BENCH", str(tmp_path))
    for each in PEERS:
        with pytest.raises(ToolError, match=each.wheel.name) as caught:
            each.open()
        assert "install" in caught.value.hint


@pytest.fixture(params=PEERS, ids=lambda each: each.name)
def installed_peer(request):
    try:
        installed(request.param.wheel)
    except ToolError as error:
        pytest.skip(f"{error} ({error.hint})")
    return request.param


def test_a_peers_output_is_aligned_with_clean_speech(installed_peer):
    # WebRTC's high-pass turns phases: its peak lies 3 samples early, its best SI-SDR at 0.
    clean = speechlike(4.0)
    noisy = clean + 0.001 * np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    suppressor = installed_peer.open()
    output = peer.enhance(suppressor, noisy)
    assert output.shape == noisy.shape and np.isfinite(output).all()
    assert abs(lag(output, clean)) <= (4 if installed_peer.name == "WebRTC" else 1)
    np.testing.assert_array_equal(peer.enhance(suppressor, noisy), output)  # the state is reset


def test_a_peer_is_counted(installed_peer):
    size = installed_peer.size()
    if not size.parameters:
        assert size.macs is None
        return
    published = {"RNNoise": 2.9e6, "GTCRN": 48.2e3, "DTLN": 0.99e6, "NSNet2": 2.7e6, "DeepFilterNet 3": 2.13e6}
    assert size.parameters == pytest.approx(published[installed_peer.name], rel=0.02)
    assert size.how.startswith("exact")


def test_a_contender_has_an_identity_that_another_has_not(installed_peer):
    contender = Contender(installed_peer.name)
    assert contender.identity() == contender.identity() != Contender("noisy").identity()
