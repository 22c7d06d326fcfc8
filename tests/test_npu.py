"""The LSTM family on the simulator against TFLM, and every residual difference explained."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from npu_models import Tflm, compile_legacy, compile_model, compile_u65, enhancer, noisy_frames, random_values

from tinyse.cli import main
from tinyse.engines.base import load_engine
from tinyse.engines.npu import NpuEngine
from tinyse.export.reader import read
from tinyse.graph.fixedpoint import quantize_multiplier
from tinyse.graph.ops import Lstm, MatMul
from tinyse.graph.products import reals
from tinyse.measure.parting import compare
from tinyse.npu import Machine, NpuError, account, weights
from tinyse.npu.operations import Dma
from tinyse.npu.payload import READ_ONLY

MODELS = Path(__file__).parents[1] / "models" / "tinylstm-dense"
CORPUS = Path(os.environ.get("TINYSE_CORPUS", "~/.cache/tinyse/corpus/small")).expanduser()
SMALL = dict(bands=16, units=(24, 16), hidden=16, seed=3)


def differences(data: bytes, compiled: bytes, frames: np.ndarray) -> np.ndarray:
    """Absolute differences of every output value, [frames, bands]."""
    machine, tflm = Machine.parse(compiled), Tflm(data)
    return np.abs(np.stack([machine.run(f).ravel().astype(int) - tflm.run(f).ravel() for f in frames]))


@pytest.mark.parametrize("macs", [32, 64, 128, 256])
@pytest.mark.parametrize("core", [compile_model, compile_legacy])
def test_every_size_and_core_gives_tflms_bytes(macs, core):
    data = enhancer(**SMALL)
    assert not differences(data, core(data, macs), noisy_frames(120, 16)).any()


@pytest.mark.parametrize("memory", ["Shared_Sram", "Sram_Only"])
@pytest.mark.parametrize("optimise", ["Performance", "Size"])
def test_memory_modes_give_tflms_bytes(memory, optimise):
    data = enhancer(**SMALL)
    compiled = compile_model(data, memory=memory, optimise=optimise)
    assert not differences(data, compiled, noisy_frames(120, 16)).any()


def test_u65_with_fast_scratch_gives_tflms_bytes_and_two_cores_are_refused():
    data = enhancer(**SMALL)
    assert Machine.parse(compile_u65(data)).payload.accelerator.name == "ethos-u65-256"
    assert not differences(data, compile_u65(data), noisy_frames(120, 16)).any()
    with pytest.raises(NpuError, match=r"two cores \(ethos-u65-512\) are not supported at command stream offset"):
        Machine.parse(compile_u65(data, cores=2))


@pytest.mark.parametrize("power", range(-15, -7))
def test_every_cell_scale_gives_tflms_bytes(power):
    data = enhancer(**SMALL, cell_power=power)
    assert not differences(data, compile_model(data), noisy_frames(120, 16)).any()


def test_sparse_weights_and_odd_widths():
    data = enhancer(bands=19, units=(33,), hidden=7, seed=5, zeros=0.9)
    assert not differences(data, compile_model(data), noisy_frames(200, 19)).any()


def exact_multipliers(machine: Machine, data: bytes) -> int:
    """Overwrite the scales of all products with TFLM's, which are double; how many changed."""
    exact, hidden = [], []

    def pairs(factors: list[float]) -> tuple[np.ndarray, np.ndarray]:
        mantissas, shifts = zip(*map(quantize_multiplier, factors), strict=True)
        return np.array(mantissas), np.array(shifts)

    for op in read(data).ops:
        if isinstance(op, Lstm):
            mantissa, shift = quantize_multiplier(2.0**-30 / op.out.grid.scale)
            hidden.append((mantissa, 31 - shift))
            exact += [pairs([grid.scale * scale * 2.0**12] * op.units) for gate in op.gates for grid, scale in (
                (op.x.grid, gate.kernel_scale), (op.out.grid, gate.recurrent_scale))]
        elif isinstance(op, MatMul):
            exact.append(pairs(reals(op)))
    flash = machine.memory.regions[READ_ONLY] = machine.memory.regions[READ_ONLY].copy()
    changed, operations = 0, []
    for op in machine.operations:
        if getattr(op, "mode", "") == "MUL" and op.ofm.dtype == np.int8:
            assert abs(op.scale[0] - hidden[0][0]) <= 64
            changed += op.scale != hidden[0]
            op = dataclasses.replace(op, scale=hidden.pop(0))
        operations.append(op)
        if isinstance(op, Dma) or op.kind != "CONV":
            continue
        stream, count = op.scales[0], op.ofm.shape[2]
        table = weights.read_scales(op, [flash[stream.address : stream.address + stream.length].tobytes()])
        same = [mantissa for mantissa, shift in exact if np.array_equal(31 - shift, table.shift)]
        mantissa = min(same, key=lambda pair: int(np.abs(pair - table.scale).max()))
        assert np.abs(mantissa - table.scale).max() <= 64, "the multipliers agree to 24 bits"
        changed += int(np.count_nonzero(mantissa != table.scale))
        records = flash[stream.address : stream.address + 10 * count].reshape(count, 10)
        records[:, 5:9] = mantissa.astype("<u4").view(np.uint8).reshape(count, 4)
    machine.steps = [machine._prepare(op) for op in operations]
    machine._runs = [step.run for step in machine.steps]
    return changed


def test_the_only_residual_is_velas_float32_arithmetic_on_scales():
    """Vela works out multipliers in float32, TFLM in double; put right, all bytes are TFLM's."""
    data, frames = enhancer(seed=0), noisy_frames(500, 128, 0)
    machine, tflm = Machine.parse(compile_model(data)), Tflm(data)
    truth = [tflm.run(frame).ravel() for frame in frames]
    as_compiled = np.stack([machine.run(f).ravel().astype(int) - t for f, t in zip(frames, truth, strict=True)])
    machine.reset()
    assert exact_multipliers(machine, data) > 1000
    mended = np.stack([machine.run(f).ravel().astype(int) - t for f, t in zip(frames, truth, strict=True)])
    assert as_compiled.any(), "this network shows the residual"
    assert not mended.any()


@pytest.mark.parametrize("seed", range(2))
def test_scales_of_11_bits_leave_no_residual(seed):
    """Where float32 products are exact, and h has a power of two, even a chaotic network is bit-identical."""
    data = enhancer(seed=seed, snap=True)
    assert not differences(data, compile_model(data), noisy_frames(500, 128, seed)).any()


def test_vela_drops_the_fraction_of_a_cell_clip():
    """The default core reads cell_clip as an integer: 0.5 becomes none; the legacy core does not."""
    frames = noisy_frames(60, 16)
    half, none = (enhancer(**SMALL, clip=clip) for clip in (0.5, 0.0))
    assert not differences(half, compile_legacy(half), frames).any()
    assert not differences(none, compile_model(half), frames).any()


def test_states_persist_and_reset():
    data, frames = enhancer(**SMALL), noisy_frames(20, 16)
    machine = Machine.parse(compile_model(data))
    first = [machine.run(frame) for frame in frames]
    second = [machine.run(frame) for frame in frames]
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    machine.reset()
    assert all((a == machine.run(frame)).all() for a, frame in zip(first, frames, strict=True))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The released model where it is there, else a generated one of its shape, with short scales."""
    compiled, integer = MODELS / "model_vela.tflite", MODELS / "model_int8.tflite"
    if compiled.exists() and integer.exists():
        return compiled, integer
    folder = tmp_path_factory.mktemp("npu")
    data = enhancer(seed=1, gain=0.4, snap=True)
    (folder / "model_int8.tflite").write_bytes(data)
    (folder / "model_vela.tflite").write_bytes(compile_model(data))
    return folder / "model_vela.tflite", folder / "model_int8.tflite"


def check_bars(pair, frames):
    result = compare(*pair, frames)
    assert result.share >= 0.99
    assert result.worst <= 1
    assert result.late >= result.early - 0.005, "no drift"
    return result


def test_agrees_with_tflm_over_noisy_frames(pair):
    engine = NpuEngine.load(pair[0])
    result = check_bars(pair, list(noisy_frames(300, engine.bands)))
    assert len(result.taps) >= 12, "gates, cells and states of both layers are compared"


@pytest.mark.parametrize("core", [compile_model, compile_legacy])
def test_compare_shows_no_sum_that_the_npu_never_writes(tmp_path, core):
    """Loud gates: the saturated input product equals half of the gate's sum, which ends in a sigmoid unseen."""
    data = enhancer(bands=50, units=(18, 14), hidden=50, seed=10, cell_power=-8, gain=10.0, snap=True)
    (tmp_path / "int8.tflite").write_bytes(data)
    (tmp_path / "vela.tflite").write_bytes(core(data))
    frames = [random_values(np.random.default_rng(n), 50, "int8") for n in range(60)]
    result = compare(tmp_path / "vela.tflite", tmp_path / "int8.tflite", frames)
    assert result.part is None and all(tap.equal == tap.values for tap in result.taps)
    assert sum(".gate_" in tap.tap for tap in result.taps) == 8, "four gates of both layers"
    assert len({tap.index for tap in result.taps}) == len(result.taps), "an operation writes one thing"


@pytest.mark.slow
def test_agrees_with_tflm_over_2000_frames_of_real_speech(pair):
    """Bytes, drift, and SI-SDR of the enhanced sound within 0.005 dB of TFLM's."""
    from tinyse.engines.enhance import enhance_signal
    from tinyse.sound import Analysis, features

    mixtures = real_speech()
    engine = NpuEngine.load(pair[0])
    spec, analysis = engine.ends, Analysis(engine.ends.framing)
    noisy = np.concatenate([mixture.noisy for mixture in mixtures])
    hops = noisy[: noisy.size // spec.framing.hop * spec.framing.hop].reshape(-1, spec.framing.hop)
    result = check_bars(pair, [engine.input.quantize(features(analysis.push(hop), spec)) for hop in hops])
    assert result.frames >= 2000
    for mixture in mixtures[::4]:
        scores = []
        for path, kind in zip(pair, ("npu", "tflm"), strict=True):
            loaded = load_engine(path, kind)
            loaded.reset()
            scores.append(si_sdr(enhance_signal(mixture.noisy, loaded), mixture.clean))
        assert abs(scores[0] - scores[1]) < 0.005


def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
    scaled = target * (estimate @ target) / (target @ target)
    return float(10 * np.log10((scaled @ scaled) / ((estimate - scaled) @ (estimate - scaled))))


def real_speech():
    """Noisy sentences of the small corpus's test split, more than 2000 hops together."""
    from tinyse.core.errors import CorpusError
    from tinyse.sound.corpus.mix import test_mixtures

    try:
        return list(test_mixtures(CORPUS, snrs=(0.0, 10.0), count_per_snr=5, seconds=4.0))
    except (CorpusError, OSError) as error:
        pytest.skip(f"needs real speech: tinyse data fetch --tier small ({error})")


def test_engine_and_protocol(pair):
    engine = load_engine(pair[0])
    assert isinstance(engine, NpuEngine)
    assert (engine.name, engine.bands) == ("npu", 128)
    feature = np.linspace(0, 3, 128).astype(np.float32)
    one = engine.mask(feature)
    assert one.shape == (128,)
    assert one.dtype == np.float32
    assert 0 <= one.min() <= one.max() <= 1
    two = engine.mask(feature)
    engine.reset()
    assert np.array_equal(one, engine.mask(feature))
    assert not np.array_equal(one, two)


def test_account_counts_the_stream_exactly(tmp_path):
    path = tmp_path / "m_vela.tflite"
    path.write_bytes(compile_model(enhancer(**SMALL, zeros=0.5)))
    costs = account(path)
    machine = Machine.load(path)
    assert [c.index for c in costs] == list(range(len(machine.operations)))
    lstm = 4 * (16 * 24 + 24 * 24 + 24 * 16 + 16 * 16)
    assert sum(c.macs for c in costs) == lstm + 2 * 16 * 16
    gates = [c for c in costs if c.kind == "CONV"][:16]
    assert 0.4 * lstm < sum(c.macs_on_zeros for c in gates) < 0.6 * lstm
    for cost, op in zip(costs, machine.operations, strict=True):
        if isinstance(op, Dma):
            assert (cost.dma_bytes, cost.table_bytes, cost.flash_bytes, cost.sram_bytes) == (256, 256, 256, 0)
        elif op.kind == "CONV":
            assert cost.flash_bytes == op.weights[0].length + op.scales[0].length
            assert cost.sram_bytes == op.ifm.bytes + op.ofm.bytes
        elif op.ifm2 is not None:
            assert cost.sram_bytes == op.ifm.bytes + op.ifm2.bytes + op.ofm.bytes


def test_disassembly_shows_each_operation(tmp_path):
    path = tmp_path / "m_vela.tflite"
    path.write_bytes(compile_model(enhancer(bands=8, units=(8,), hidden=8, seed=1)))
    result = CliRunner().invoke(main, ["npu", "disassemble", str(path)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("ethos-u55-128, ")
    blocks = result.output.split("\n\n")
    assert len(blocks) == 1 + len(Machine.load(path).operations)
    conv = next(block for block in blocks if " CONV 8 to 8" in block).splitlines()
    assert conv[1].startswith("       ifm    int8[1, 1, 8] ")
    assert conv[2].startswith("       ofm    int16[1, 1, 8] NHCWB16 arena ")
    assert conv[3] == "       scale  per channel, TFL rounding"
    assert conv[5] == "       kernel 1x1 stride (1, 1) dilation (1, 1) padding (0, 0, 0, 0) part-kernel-first"
    assert conv[6].startswith("       weight 64 (")
    assert conv[6].endswith(" on zeros")
    assert "       clamp  -32768..32767, activation sigmoid, 40-bit accumulator" in result.output
    assert "activation table 0" in result.output


def test_compare_command_names_the_parting(tmp_path):
    data = enhancer(**SMALL)
    ours, theirs = tmp_path / "vela.tflite", tmp_path / "int8.tflite"
    ours.write_bytes(compile_model(data))
    theirs.write_bytes(data)
    result = CliRunner().invoke(main, ["npu", "compare", str(ours), str(theirs), "--frames", "20"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("20 frames: 100.000 % of 320 output values equal, largest difference 0 LSB")
    assert result.output.endswith("no parting: every value that both write is equal\n")
    machine = Machine.load(ours)
    op = next(op for op in machine.operations if not isinstance(op, Dma) and op.kind == "CONV")
    damaged = ours.read_bytes()
    flash = machine.payload.read_only.tobytes()
    start = damaged.index(flash) + op.scales[0].address
    ours.write_bytes(damaged[: start + 1] + bytes([damaged[start + 1] ^ 8]) + damaged[start + 2 :])
    result = CliRunner().invoke(main, ["npu", "compare", str(ours), str(theirs), "--frames", "20"])
    assert result.exit_code == 0, result.output
    assert "first parting: frame 0, operation " in result.output


def test_run_command_traces_every_map(tmp_path):
    path, target = tmp_path / "m_vela.tflite", tmp_path / "maps.npz"
    path.write_bytes(compile_model(enhancer(**SMALL)))
    result = CliRunner().invoke(main, ["npu", "run", str(path), "--frames", "5", "--trace", str(target)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("5 frames on ethos-u55-128 (simulated), ")
    with np.load(target) as maps:
        machine = Machine.load(path)
        kept = [op for op in machine.operations if not isinstance(op, Dma)]
        assert len(maps.files) == len(kept) + 3
        assert maps[f"op_{kept[-1].index:04}"].shape == (5, *kept[-1].ofm.shape)
        assert np.array_equal(maps[f"op_{kept[-1].index:04}"].ravel(), maps["output"].ravel())


def test_a_trace_replaces_no_input_and_what_has_no_effect_is_refused(tmp_path):
    path, wav = tmp_path / "m_vela.tflite", tmp_path / "s.wav"
    path.write_bytes(compile_model(enhancer(**SMALL)))
    wav.write_bytes(b"sound")
    for words, code, line in (
            (["--trace", str(path)], 1, "m_vela.tflite: what is written here is .npz (a name that ends in .npz)"),
            (["--audio", str(wav), "--trace", str(wav)], 1, "s.wav: what is written here is .npz"),
            (["--audio", str(wav), "--frames", "5"], 2, "--frames is of shaped noise, and --audio gives a sound"),
            (["--audio", str(wav), "--seed", "5"], 2, "--seed is of shaped noise"), (["--seed", "-1"], 2, "x>=0")):
        result = CliRunner().invoke(main, ["npu", "run", str(path), *words])
        assert result.exit_code == code and line in result.stderr, result.output
    assert wav.read_bytes() == b"sound" and path.read_bytes() == compile_model(enhancer(**SMALL))


def test_what_is_not_compiled_is_one_line(tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(enhancer(**SMALL))
    result = CliRunner().invoke(main, ["npu", "disassemble", str(path)])
    assert result.exit_code == 1
    assert result.output == (f"Error: {path}: holds no ethos-u operator: it was not compiled by Vela "
                             "(tinyse export --target ethos-u55-128 writes model_vela.tflite)\n")
    with pytest.raises(NpuError, match="No such file"):
        Machine.load(tmp_path / "none.tflite")


@pytest.mark.parametrize("command", ["run", "disassemble"])
def test_what_is_no_model_is_named(command, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello, hello")
    result = CliRunner().invoke(main, ["npu", command, str(path)])
    assert result.exit_code == 1 and result.stderr.startswith(f"Error: {path}: not a TFLite file")
