"""Mixed precision: bits of a network's operators, their packing, and the genetic search over them.

That reference, TFLM, NPU and C agree on networks of few bits is in test_every_engine.py ("few-...").
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.twin_nets import NETS, frames, of, random_model
from tinyse.cli import main
from tinyse.core.errors import ModelError, RecipeError, TinyseError
from tinyse.export.packing import pack_bits
from tinyse.graph.grid import Grid, bits_of, quantize_weights, top
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.net import Net
from tinyse.graph.reference import Reference
from tinyse.graph.snap import snap
from tinyse.measure.card import BITS, LAYERS, _layers
from tinyse.measure.costs.render import size_table
from tinyse.measure.costs.sizes import model_sizes
from tinyse.studies.precision.genes import Genes, Genome
from tinyse.studies.precision.journal import FILE, Journal
from tinyse.studies.precision.points import chosen, mean_bits
from tinyse.studies.precision.search import Settings, first, front, search
from tinyse.train.recipe import recipe_of

NET = of((1, 3, 4), lambda b: b.dense(b.gru(b.dense(b.x, 5, "relu"), 4, bits=8), 3))

# -- bits of a network ------------------------------------------------------------------------------------


def test_places_are_matrices_gates_activations_and_states() -> None:
    assert NET.places["dense_0/kernel"] == (2, 8) and NET.places["gru_0/recurrent_kernel.r"] == (2, 8)
    assert NET.places["gru_0.h"] == NET.places["gru_0.z"] == NET.places["features"] == (4, 8)
    assert not {"gru_0/kernel", "gru_0/bias.z", "gru_0/bias"} & NET.places.keys()
    wide = of((1, 3, 4), lambda b: b.gru(b.x, 4))
    assert wide.places["gru_0.h"] == wide.places["gru_0.z"] == (4, 16) and "gru_0.zx" not in wide.places
    assert tinylstm(4, (3,), (), 4).places["lstm_0.c"] == (4, 16)


def test_later_bits_win_an_array_stands_for_its_gates_and_what_is_full_is_not_kept() -> None:
    net = NET.with_bits({"*/*": 4, "gru_0/kernel": 3, "gru_0/kernel.z": 8, "gru_0.h": 8})
    assert [net.bits_of(f"gru_0/kernel.{gate}") for gate in "zrn"] == [8, 3, 3]
    assert net.bits_of("dense_1/kernel") == 4 and net.bits_of("gru_0.h") == net.bits_of("gru_0/bias") == 8
    assert "gru_0.h" not in dict(net.bits) and net.tops("gru_0/kernel") == (127, 3, 3)
    assert NET.with_bits({"*": 8}) == NET
    assert Net.of_json(json.loads(json.dumps(net.to_json()))) == net


@pytest.mark.parametrize("bits, said", [
    ({"dense_7/kernel": 4}, "bits of dense_7/kernel: the network has no such place"),
    ({"dense_0/kernel": 9}, "bits of dense_0/kernel: 9"), ({"dense_0/kernel": 1}, "bits of dense_0/kernel: 1"),
    ({"*": 3}, "bits of features: 3"), ({"gru_0.h": 2.5}, "bits of gru_0.h: 2.5"), ({"gru_0.h": True}, "bits of")])
def test_bits_that_are_none_are_one_line(bits: dict, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        NET.with_bits(bits)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_recipe_names_them_and_says_what_is_wrong() -> None:
    recipe = recipe_of({"name": "x", "quantize": {"bits": {"lstm_*": 4}}}, "x.yaml")
    assert recipe.net().bits_of("lstm_1/recurrent_kernel.o") == 4
    with pytest.raises(RecipeError, match="quantize.bits: bits of gru_0: the network has no such place"):
        recipe_of({"name": "x", "quantize": {"bits": {"gru_0": 4}}}, "x.yaml").net()
    with pytest.raises(RecipeError, match="quantize.bits: not with cluster.values: 4"):
        recipe_of({"name": "x", "quantize": {"bits": {"*": 4}}, "cluster": {"values": 4}}, "x.yaml")


@given(st.floats(-50, 0), st.floats(0.01, 50), st.integers(2, 8))
def test_a_grid_of_few_bits_covers_its_range_and_ends_with_the_type(low: float, high: float, bits: int) -> None:
    grid = Grid.of_range(low, high, bits)
    assert 127 - top(bits) * 2 - 1 <= grid.zero_point <= 127
    begin, end = grid.span(bits)
    step = grid.scale
    assert round((end - begin) / step) == 2**bits - 1 and begin <= 0 <= end
    assert abs(begin - low) <= 0.51 * step + 1e-5 and abs(end - high) <= 0.51 * step + 1e-5
    assert grid.quantize(np.float32([high + step]))[0] == 127


@pytest.mark.parametrize("name", [name for name in NETS if name.startswith("few-")])
def test_no_matrix_has_more_levels_than_its_bits(name: str) -> None:
    model = random_model(NETS[name]())
    assert snap(model).arrays.keys() == model.arrays.keys()
    seen = {bits_of(matrix) for graph in model.plan().graphs for matrix in graph.matrices}
    assert seen <= {bits for place, bits in model.net.bits if "/" in place} | {8}
    for array, value in snap(model).arrays.items():
        np.testing.assert_allclose(value, model.arrays[array], rtol=1e-6, err_msg="snapped twice")


def test_an_activation_after_a_relu_has_no_more_values_than_its_bits() -> None:
    model = random_model(NETS["few-dense"]())
    (graph,) = model.plan().graphs
    reference, seen = Reference(graph), set()
    for frame in graph.inputs[0].grid.quantize(3 * frames(model.net, 200)):
        reference.run({graph.inputs[0].name: frame.reshape(graph.inputs[0].shape)})
        seen |= set(reference.taps["dense_0"].reshape(-1).tolist())
    assert 8 < len(seen) <= 16 and max(seen) == 127


def test_few_bits_end_where_the_error_is_least() -> None:
    rng = np.random.default_rng(0)
    net = of((1, 1, 64), lambda b: b.dense(b.x, 8)).with_bits({"dense_0/kernel": 3})
    kernel = rng.laplace(size=(64, 8)).astype(np.float32)
    arrays = {"dense_0/kernel": kernel, "dense_0/bias": np.zeros(8, np.float32)}
    model = Model(net, arrays, random_model(NET).ends, {name: (-1.0, 1.0) for name in net.ranges})
    made = snap(model).arrays["dense_0/kernel"]
    whole = np.abs(kernel).max(0) / 3
    ends = quantize_weights(kernel, whole, 3) * whole
    assert np.square(made - kernel).sum() < 0.7 * np.square(ends - kernel).sum()


def test_a_model_keeps_its_bits(tmp_path: Path) -> None:
    model = random_model(NETS["few-tinylstm"]())
    model.save(tmp_path / "m.npz")
    assert Model.load(tmp_path / "m.npz").net == model.net


def test_cards_and_size_tables_say_bits_below_8() -> None:
    few, whole = random_model(NETS["few-dense"]()), random_model(NETS["dense"]())
    header, rows = _layers(few.plan(), few)
    assert (header[-1], rows[0][-1], rows[1][-1], rows[-1][-1]) == (BITS, "2", "5", "")
    assert _layers(whole.plan(), whole)[0] == LAYERS
    (graph,) = few.plan().graphs
    assert graph.narrow_bytes == sum(-(-matrix.size * bits // 8)
                                     for matrix, bits in zip(graph.matrices, (2, 5), strict=True))
    for model, shown in ((few, True), (whole, False)):
        table = size_table(model_sizes(model.plan().graphs, [Path(__file__)], [], []))
        assert (table.rows[0][0] == "weights in the bits of their matrices") == shown


# -- packing ----------------------------------------------------------------------------------------------

@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 99))
def test_packed_bits_lie_as_the_header_says(bits: int, rows: int, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(-top(bits), top(bits) + 1, (rows, 16)).astype(np.int8)
    packed = pack_bits(weights, bits)
    assert packed.shape == (rows, 2 * bits)
    for row, given_ in zip(packed, weights, strict=True):
        for number, weight in enumerate(given_):
            word, lane = divmod(number, 4)
            value = shift = at = 0
            if bits & 4:
                value, shift, at = int(row[4 * (word & 1) + lane]) >> 4 * (word >> 1) & 15, 4, 8
            if bits & 2:
                value, shift, at = value | (int(row[at + lane]) >> 2 * word & 3) << shift, shift + 2, at + 4
            if bits & 1:
                single = int(row[at]) | int(row[at + 1]) << 8
                value |= (single >> (word + 4 * lane) & 1) << shift
            assert value - (1 << (bits - 1)) == weight


# -- the search -------------------------------------------------------------------------------------------

GENES = Genes.of(NET)
WORTH = 10.0 ** np.random.default_rng(5).uniform(-1.5, 1.0, len(GENES.places))
SETTINGS = Settings(6, 12, seed=3)


def numbers(genome: Genome) -> dict[str, float]:
    """A network of whose matrices some need their bits more than others."""
    loss = float(np.dot(WORTH, 4.0 ** (2.0 - np.array(genome))))
    size = float(sum(genome))
    return {"loss": loss, "score": -loss, "encoded": size, "packed": 2 * size, "cycles": 1.0}


class Judge:
    """Counts; is killed before a genome where ``left`` runs out."""

    def __init__(self, left: int = 10_000) -> None:
        self.left, self.asked = left, 0

    def __call__(self, genomes):
        for genome in genomes:
            if self.asked == self.left:
                raise KeyboardInterrupt
            self.asked += 1
            yield genome, numbers(genome)


def journal(folder: Path, **identity: object) -> Journal:
    return Journal(folder, {"model": "a", **identity}, len(GENES.places))


@pytest.fixture
def pymoo() -> None:
    pytest.importorskip("pymoo", reason="pip install 'tinyse[search]'")


def test_a_genome_of_another_network_or_out_of_range_is_one_line() -> None:
    assert GENES.net_of(GENES.alike(8)) == NET and dict(GENES.bits(GENES.alike(4))).keys() == set(GENES.places)
    with pytest.raises(ModelError, match="a genome of 3 genes, and the network has 8"):
        GENES.net_of((8, 8, 8))
    with pytest.raises(ModelError, match=r"bits of dense_0/kernel: 11"):
        GENES.net_of((11, *GENES.alike(4)[1:]))
    kept = Genes.of(NET.with_bits({"gru_0.h": 5, "dense_0/kernel": 3}))
    assert kept.bits(GENES.alike(8)) == {"gru_0.h": 5}


@pytest.mark.usefixtures("pymoo")
def test_the_front_beats_homogeneous_bits(tmp_path: Path) -> None:
    found = search(GENES, Judge(), journal(tmp_path), Settings(20, 16, 3, ("loss", "encoded"), 0.6))
    best = front(found)
    assert [found[g]["encoded"] for g in best] == sorted(found[g]["encoded"] for g in best)
    for bits in (4, 5):
        alike = numbers(GENES.alike(bits))
        assert GENES.alike(bits) in found
        assert any(found[g]["loss"] <= alike["loss"] and found[g]["encoded"] < alike["encoded"] for g in best), bits
    points = chosen(best, found, 4)
    assert len({point.name for point in points}) == len(points) <= 4 and all(point.mixed for point in points)


def test_the_bend_of_a_front_is_among_the_points_that_are_shown() -> None:
    sizes, losses = (20, 30, 40, 60, 80, 100), (0.9, 0.7, 0.1, 0.08, 0.05, 0.0)
    genomes = [(2 + at, *GENES.alike(8)[1:]) for at in range(6)]
    found = {genome: {"encoded": 1000.0 * size, "loss": loss}
             for genome, size, loss in zip(genomes, sizes, losses, strict=True)}
    assert [[point.name for point in chosen(genomes, found, count)] for count in (1, 2, 3, 9)] == [
        ["mixed-40.0k"], ["mixed-40.0k", "mixed-100.0k"], ["mixed-20.0k", "mixed-40.0k", "mixed-100.0k"],
        [f"mixed-{size}.0k" for size in sizes]]
    assert chosen([GENES.alike(4)], found, 3) == []


@pytest.mark.usefixtures("pymoo")
@pytest.mark.parametrize("left", [0, 1, 30])
def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(left: int, tmp_path: Path) -> None:
    whole = Judge()
    wanted = search(GENES, whole, journal(tmp_path / "whole"), SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        search(GENES, Judge(left), journal(tmp_path / "cut"), SETTINGS)
    with open(tmp_path / "cut" / FILE, "a") as file:
        file.write('{"bits": [8, 8')  # killed within a line
    rest = Judge()
    assert search(GENES, rest, journal(tmp_path / "cut"), SETTINGS) == wanted
    assert rest.asked == whole.asked - left
    again = Judge()
    assert search(GENES, again, journal(tmp_path / "cut"), SETTINGS) == wanted and again.asked == 0


def test_the_first_generation_holds_the_homogeneous_genomes() -> None:
    drawn = first(GENES, Settings(1, 12))
    assert [tuple(row) for row in drawn[:7]] == [GENES.alike(bits) for bits in range(8, 1, -1)]
    assert drawn.shape == (12, len(GENES.places)) and drawn.min() >= 2 and drawn.max() <= 8


def test_a_full_disk_costs_no_genome_and_leaves_no_part_of_one(tmp_path: Path, monkeypatch) -> None:
    kept = journal(tmp_path)
    kept.add(GENES.alike(8), numbers(GENES.alike(8)))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TinyseError, match="cannot be written: No space left on device"):
        kept.add(GENES.alike(7), numbers(GENES.alike(7)))
    monkeypatch.undo()
    assert list(journal(tmp_path).known) == [GENES.alike(8)]


@pytest.mark.parametrize("line, said", [
    ('{"bits": [8, 8], "numbers": {}}', "line 2: 2 genes, and the network has 8"),
    ('{"bits": [8, 8, 8, 8, 8, 8, 8, 12], "numbers": {}}', "line 2: bits out of 2 to 8"),
    ("what", "line 2 is damaged"), ("[1]", "line 2 is damaged"), ('{"bits": 3, "numbers": {}}', "line 2 is damaged")])
def test_a_damaged_or_foreign_journal_is_one_line(line: str, said: str, tmp_path: Path) -> None:
    journal(tmp_path)
    with open(tmp_path / FILE, "a") as file:
        file.write(line + "\n")
    with pytest.raises(TinyseError) as caught:
        journal(tmp_path)
    assert said in caught.value.line() and "\n" not in caught.value.line()
    with pytest.raises(TinyseError, match="written for another network"):
        journal(tmp_path, model="b")


def test_mean_bits_count_weights() -> None:
    wanted = sum(bits * matrix.size for graph in random_model(NET).plan().graphs
                 for bits, matrix in zip(range(2, 10), graph.matrices, strict=True))
    weights = sum(matrix.size for graph in random_model(NET).plan().graphs for matrix in graph.matrices)
    genome = [0] * len(GENES.places)
    order = [op.out.name for op in random_model(NET).plan().graphs[0].ops if op.matrices]
    assert len(order) == len(genome) and weights
    places = {"dense_0": "dense_0/kernel", "result": "dense_1/kernel", **{
        f"gru_0.{gate}{side}": f"gru_0/{'kernel' if side == 'x' else 'recurrent_kernel'}.{gate}"
        for gate in "zrn" for side in "xh"}}
    for bits, name in enumerate(order, 2):
        genome[GENES.places.index(places[name])] = bits
    assert mean_bits(GENES, tuple(genome)) == pytest.approx(wanted / weights)


# -- the command ------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run folder of a small network on its grids, and a corpus; of other random ones rounding only gains."""
    from tinyse.sound.corpus.synthetic import synthetic_corpus

    folder = tmp_path_factory.mktemp("search")
    synthetic_corpus(folder / "corpus", seed=3)
    recipe = recipe_of({"name": "small", "family_options": {"lstm": [12], "dense": [8]},
                        "mixing": {"seconds": 0.5, "batch": 4}}, "small.yaml")
    (folder / "run").mkdir()
    recipe.write(folder / "run")
    replace(random_model(recipe.net(), seed=1), ends=recipe.ends).save(folder / "run" / "model.npz")
    return folder / "run", folder / "corpus"


@pytest.mark.usefixtures("pymoo")
def test_a_search_from_a_run_to_a_recommendation(run: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["search", "precision", str(run[0]), "--corpus", str(run[1]), "--out", str(out), "--generations", "1",
             "--population", "9", "--workers", "0", "--mixtures", "6", "--points", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if "bit " in line or "mixed-" in line}
    assert list(rows)[:5] == ["8-bit", "6-bit", "5-bit", "4-bit", "3-bit"] and rows["8-bit"][3] == "+0.00"
    assert rows["8-bit"][4] == rows["8-bit"][5] == "0.00" and float(rows["3-bit"][4]) > 0
    for at in (6, 7):  # encoded, packed
        sizes = [int(rows[f"{bits}-bit"][at].replace(",", "")) for bits in (8, 6, 4, 3)]
        assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.3 * sizes[-1]
    assert {"pareto.png", "genes.png", "sweep.json", "genomes.jsonl"} <= {path.name for path in out.iterdir()}
    before = (out / FILE).read_text()
    assert len(before.splitlines()) == 10
    assert CliRunner().invoke(main, words).stdout == result.stdout and (out / FILE).read_text() == before
    four = Model.load(out / "points" / "4-bit" / "model.npz")
    assert {bits_of(matrix) for matrix in four.plan().graphs[0].matrices} == {4}
    named = CliRunner().invoke(main, ["recommend", str(out), "--budget-kb", "1000"])
    assert named.exit_code == 0 and named.stdout.startswith("take ") and "val. SI-SDR" in named.stdout
    other = [*words[:3], "--corpus", str(run[1]), "--out", str(out), "--mixtures", "12"]
    refused = CliRunner().invoke(main, other)
    assert refused.exit_code == 1 and "written for another network, corpus, target or mixtures" in refused.output
    refused = CliRunner().invoke(main, [*words, "--target", "cortex-m55"])
    assert refused.exit_code == 1 and refused.output == (
        "Error: cortex-m55 has no NPU, whose encoding of the weights is what is searched "
        "(an Ethos-U target, such as ethos-u55-128)\n")


@pytest.mark.usefixtures("pymoo")
def test_a_network_with_exits_is_searched_by_its_last(run: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = recipe_of({"name": "n", "family": "nsnet2", "family_options": {
        "first": 6, "gru": [6], "dense": [6], "exits": [1]}}, "n.yaml")
    recipe.write(tmp_path)
    replace(random_model(recipe.net(), seed=1), ends=recipe.ends).save(tmp_path / "model.npz")
    result = CliRunner().invoke(main, [
        "search", "precision", str(tmp_path), "--corpus", str(run[1]), "--out", str(tmp_path / "out"), "--workers", "0",
        "--generations", "1", "--population", "8", "--mixtures", "6", "--points", "1"])
    assert result.exit_code == 0, result.output
    assert "SI-SDR measured (host) on validation" in result.stdout and "\n4-bit " in result.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("pymoo")
def test_points_are_fine_tuned_with_their_bits(run: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["search", "precision", str(run[0]), "--corpus", str(run[1]), "--out", str(tmp_path / "out"),
             "--generations", "1", "--population", "9", "--workers", "0", "--mixtures", "6", "--points", "1",
             "--finetune", "4"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    tuned = Model.load(tmp_path / "out" / "points" / "4-bit-tuned" / "model.npz")
    assert {bits_of(matrix) for matrix in tuned.plan().graphs[0].matrices} == {4} and "4-bit-tuned" in result.stdout


@pytest.mark.parametrize("words, said", [
    (["nowhere"], "Error: nowhere: holds no model.npz (a run's folder, as tinyse train leaves it)"),
    (["nowhere", "--corpus", "corpus"], "nowhere: holds no model.npz"),
    (["made"], "made/recipe.yaml: no such recipe"), (["made", "--corpus", "corpus"], "corpus: holds no corpus")])
def test_what_is_missing_is_one_line(words: list[str], said: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.npz").write_bytes(b"")
    result = CliRunner().invoke(main, ["search", "precision", *words])
    assert result.exit_code == 1 and said in result.output and len(result.output.splitlines()) == 1
