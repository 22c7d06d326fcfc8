"""Units that are removed are not missed: the smaller export gives the whole one's bytes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from export_models import changed, frames, integers, random_model, streamed, written
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.engines.integer import IntegerEngine
from tinyse.export.reader import read
from tinyse.graph.groups import Structure, masks, structure_groups
from tinyse.graph.model import Model
from tinyse.graph.shrink import living, shrink, widths
from tinyse.graph.snap import snap
from tinyse.graph.units import units_of


def without_units(model: Model, kept: dict[str, np.ndarray], biases: bool = True) -> Model:
    """Zero the groups of the units that are not kept; with ``biases`` false, their biases stay."""
    groups = structure_groups(units_of(model.net), Structure.UNIT)
    found = masks(groups, [kept[part.name] for part in groups])
    arrays = {name: array * found.get(name, 1) if biases or not name.endswith("/bias") else array
              for name, array in model.arrays.items()}
    return replace(model, arrays=arrays, meta={**model.meta, "structure": "unit"})


def live_units(model: Model) -> dict[str, np.ndarray]:
    """Which output channels of every node reach a result or set a scale."""
    units = units_of(model.net)
    live = living(model, units)
    return {name: live[labels] for name, labels in units.channels.items()}


def some(rng: np.random.Generator, model: Model, share: float) -> dict[str, np.ndarray]:
    kept = {node.name: rng.random(model.net.shapes[node.name][-1]) < share for node in model.net.nodes[1:-1]}
    for flags in kept.values():
        flags[0] = True
    return kept


@pytest.mark.parametrize(("seed", "biases"), [(1, True), (2, False), (3, True)])
def test_the_smaller_network_gives_the_same_bytes(seed, biases):
    model = random_model(lstm=(24, 19), dense=(13,), seed=seed)
    kept = some(np.random.default_rng(seed), model, 0.5)
    masked = without_units(model, kept, biases)
    small = shrink(masked)
    assert widths(small) == {**{name: int(flags.sum()) for name, flags in kept.items()}, "dense_1": 16}
    whole, less = written(masked), written(small)
    assert len(less) < len(whole)
    noise = np.random.default_rng(seed).integers(-128, 128, (40, 16)).astype(np.int8)
    speech = read(whole).inputs[0].grid.quantize(frames(150, 16, seed))
    inputs = np.concatenate([speech, noise])
    out = [streamed(data, inputs) for data in (whole, less)]
    np.testing.assert_array_equal(*out)
    np.testing.assert_array_equal(integers(less, inputs), out[0])


def scales(model: Model) -> list[np.ndarray]:
    return [np.abs(array).reshape(array.shape[0], 4, -1).max(axis=(0, 2)) for name, array in model.arrays.items()
            if name.startswith("lstm") and not name.endswith("/bias")]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 0.8]), st.sampled_from([0.0, 0.6, 0.9]), st.booleans())
def test_any_pattern_keeps_scales_and_real_output(seed, share, zeros, biases):
    from tinyse.train.keras import tf
    from tinyse.train.network import restore

    model = random_model(lstm=(9, 7), dense=(6,), bands=8, seed=seed, zeros=zeros, quantized=False)
    masked = without_units(model, some(np.random.default_rng(seed), model, share), biases)
    small = shrink(masked)
    for before, after in zip(scales(masked), scales(small), strict=True):
        np.testing.assert_array_equal(before, after)
    assert small.parameters <= masked.parameters
    assert shrink(small).parameters == small.parameters
    features = tf.constant(frames(12, 8, seed)[None])
    np.testing.assert_allclose(restore(masked)(features), restore(small)(features), atol=2e-6)


def test_a_living_unit_is_not_removed():
    model = random_model(lstm=(9, 7), dense=(6,), bands=8, quantized=False)
    assert all(flags.all() for flags in live_units(model).values())
    assert shrink(model).parameters == model.parameters


def test_a_unit_that_only_feeds_a_dead_one_goes_too():
    model = random_model(lstm=(9, 7), dense=(6,), bands=8, seed=4, quantized=False)
    second, first = model.arrays["lstm_1/kernel"].copy(), model.arrays["lstm_0/kernel"] * 0.1
    recurrent = model.arrays["lstm_0/recurrent_kernel"].copy()
    second[3:5] = 0  # nobody above reads units 3 and 4
    first[:, ::9] = 1  # unit 0 holds every peak
    recurrent[3:5] = 0
    recurrent[3, 4::9] = 0.1  # 3 feeds 4, which feeds nobody
    recurrent[0, ::9] = 3
    small = shrink(changed(model, lstm_0__kernel=first, lstm_0__recurrent_kernel=recurrent, lstm_1__kernel=second))
    assert widths(small) == {"lstm_0": 7, "lstm_1": 7, "dense_0": 6, "dense_1": 8}


def test_a_unit_that_holds_the_largest_weight_stays():
    model = random_model(lstm=(9, 7), dense=(6,), bands=8, seed=4, quantized=False)
    second, first = model.arrays["lstm_1/kernel"].copy(), model.arrays["lstm_0/kernel"].copy()
    recurrent = model.arrays["lstm_0/recurrent_kernel"].copy()
    second[3] = recurrent[3] = 0
    first[0, 3] = 100
    masked = changed(model, lstm_0__kernel=first, lstm_0__recurrent_kernel=recurrent, lstm_1__kernel=second)
    assert live_units(masked)["lstm_0"][3]
    first[0, 3] = 1e-3
    first[:, 12::9] = first[:, 21::9] = 0
    recurrent[:, 3::9] = 0
    assert not live_units(masked)["lstm_0"][3]


def test_export_of_a_unit_pruned_run_is_smaller_and_runs_on_the_simulator(tmp_path):
    from tinyse.engines import load_engine
    from tinyse.export.pipeline import export_run

    model = random_model(lstm=(40, 24), dense=(18,), bands=128, seed=6)
    rng = np.random.default_rng(6)
    kept = {"lstm_0": rng.permutation(40) < 13, "lstm_1": rng.permutation(24) < 7, "dense_0": rng.permutation(18) < 5}
    masked = snap(without_units(model, kept))
    masked.save(tmp_path / "model.npz")
    made = export_run(tmp_path, "ethos-u55-128")
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["widths"] == {"lstm_0": 13, "lstm_1": 7, "dense_0": 5, "dense_1": 128}
    assert made.macs_per_frame == 4 * 13 * (128 + 13) + 4 * 7 * (13 + 7) + 7 * 5 + 5 * 128
    files = {"tflm": made.files["model_int8.tflite"], "npu": made.files["model_vela.tflite"],
             "keras": tmp_path / "model.npz"}
    engines = [load_engine(file, kind) for kind, file in files.items()]
    whole = IntegerEngine(masked.plan(), masked.ends)
    for frame in frames(40, 128, 6):
        mask = whole.step(whole.input.quantize(frame))
        for engine in engines:
            np.testing.assert_array_equal(np.rint(engine.mask(frame) * 256) - 128, mask)
