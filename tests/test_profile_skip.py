"""A Skip RNN's profile: its rate, and every cost of an update, of a mean frame and of a second, each of its kind."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache

import pytest
from firmware_images import NPU, export, needs_compiler, needs_qemu
from profile_exports import hand_made, with_firmware, with_skipping

from tinyse.measure.costs import page, render
from tinyse.measure.costs.compare import compare, comparison_json, table
from tinyse.measure.costs.execution import Options
from tinyse.measure.costs.firmware import SKIPPED
from tinyse.measure.costs.locate import locate
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.costs.results import Profile

MEANS = """\
Skip RNN's network on a signal, estimated x update rate (Vela 5.2.0)
          an update  a frame, mean  a second of audio
  cycles      5,000          2,000            125,000
  the network ran on 4 of 10 frames of a signal: 40.0 %"""

STAGES = """\
firmware profiled on corstone300 (cortex-m55, cpu, mve), emulated (QEMU 1 mps3-an547)
  stage                     instructions a frame    share  an update  longest  a second of audio  all frames
  window, FFT                              8,000   12.7 %      8,000    8,010            500,000      80,000
  magnitude, mel, power                    2,800    4.4 %      7,000    7,010            175,000      28,000
  quantize                                   400    0.6 %      1,000    1,010             25,000       4,000
  network                                 40,000   63.3 %    100,000  100,010          2,500,000     400,000
  mask                                     4,000    6.3 %      4,000    4,010            250,000      40,000
  inverse FFT, overlap-add                 8,000   12.7 %      8,000    8,010            500,000      80,000
  frame                                   63,200  100.0 %    128,000  128,060          3,950,000     632,000
  front and back end 23,200 instructions a frame; 10 frames of a signal
  the network ran on 4 of 10 frames of a signal: 40.0 %
  an update: a frame that runs the network; the others compute no features"""

BUDGET = """\
frame budget, emulated x assumed CPI (QEMU 1 mps3-an547, CPI 1 to 2)
     stage                                cycles      of the hop           an update      of the hop
  T  window, FFT                 8,000 to 16,000  0.10 to 0.20 %     8,000 to 16,000  0.10 to 0.20 %
  F  magnitude, mel, power        2,800 to 5,600  0.04 to 0.07 %     7,000 to 14,000  0.09 to 0.17 %
  Q  quantize                         400 to 800  0.01 to 0.01 %      1,000 to 2,000  0.01 to 0.03 %
  N  network                    40,000 to 80,000  0.50 to 1.00 %  100,000 to 200,000  1.25 to 2.50 %
  M  mask                         4,000 to 8,000  0.05 to 0.10 %      4,000 to 8,000  0.05 to 0.10 %
  S  inverse FFT, overlap-add    8,000 to 16,000  0.10 to 0.20 %     8,000 to 16,000  0.10 to 0.20 %
     sum                       63,200 to 126,400  0.79 to 1.58 %  128,000 to 256,000  1.60 to 3.20 %
  [N.................................................] 16 ms, mean
  [NM................................................] 16 ms, an update"""

ROWS = {  # of a dense network and of a Skip RNN as large
    ("cycles a frame", "estimated"): (5000, 5000),
    ("frames that run the network", "emulated"): (100, 40),
    ("NPU cycles, mean of a frame", "estimated x update rate"): (5000, 2000),
    ("NPU cycles, per second of audio", "estimated x update rate"): (312_500, 125_000),
    ("MACs, mean of a frame", "simulated x update rate"): (8000, 3200),
    ("network (cortex-m55)", "emulated"): (100_000, 40_000),
    ("network, an update (cortex-m55)", "emulated"): (100_000, 100_000),
    ("processor's share of the hop, most", "emulated x assumed CPI"): (3.2, 1.58),
    ("an update's share of the hop, most", "emulated x assumed CPI"): (3.2, 3.2),
}


@lru_cache
def dense() -> Profile:
    return with_firmware(hand_made("dense"))


@lru_cache
def skipping() -> Profile:
    return with_skipping(with_firmware(hand_made("skipping")))


def shown(found: Profile) -> list[str]:
    return [render.plain(each) for each in render.tables(found)]


def test_tables_tell_an_update_from_a_mean_frame():
    texts = shown(skipping())
    assert MEANS in texts and STAGES in texts
    assert any(text.startswith(BUDGET) for text in texts)
    titles = [each.title for each in render.tables(skipping())]
    for title in titles:  # never two kinds in one table
        assert sum(word in title for word in ("measured", "emulated", "simulated", "estimated", "exact")) <= 1, title
    assert not any(title.startswith(("one frame,", "traffic of one frame,", "command stream of one frame,"))
                   for title in titles)


def test_a_plain_network_shows_nothing_of_it():
    text = "\n".join(shown(dense()))
    assert "update" not in text and "Skip" not in text and "runs the network" not in text
    assert render.to_json(dense())["skip"] is None
    assert not [row for row in compare(dense(), dense()) if "update" in row.name or "mean" in row.name]


def test_comparison_has_means_of_both():
    found = {(row.name, row.label): (row.first, row.second) for row in compare(dense(), skipping())}
    for key, wanted in ROWS.items():
        assert found[key] == pytest.approx(wanted), key
    assert found["cycles per second of audio", "estimated"] == (312_500, None)
    swapped = {(row.name, row.label): (row.second, row.first) for row in compare(skipping(), dense())}
    assert swapped == found
    notes = table(dense(), skipping()).notes
    assert "skipping: the network ran on 4 of 10 frames of a signal: 40.0 %" in notes


def test_json_and_page_carry_it():
    document = json.loads(json.dumps(render.to_json(skipping())))
    assert document["skip"]["rate"] == {"origin": document["firmware"]["origin"], "signal": "a signal", "frames": 10,
                                        "updates": 4, "rate": 0.4}
    assert [each["name"] for each in document["skip"]["stages"]][-1] == "frame"
    assert len(document["budget"]["updating"]) == 6
    assert json.dumps(comparison_json(dense(), skipping()))
    html = page.html([skipping()], render.tables(skipping()))
    assert "estimated x update rate" in html and "the network ran on 4 of 10 frames" in html
    labels = [label for label, _, _ in page._bars(npu_of(skipping()))]
    assert len(labels) == 4 and sum("an update" in label for label in labels) == 2
    assert len(page._bars(npu_of(dense()))) == 2


def npu_of(found: Profile) -> Profile:
    """The same with the network on the NPU."""
    assert found.budget is not None
    shares, updating = ([each for each in part if each.stage != "network"]
                        for part in (found.budget.shares, found.budget.updating))
    return dataclasses.replace(found, budget=dataclasses.replace(found.budget, shares=tuple(shares),
                                                                 updating=tuple(updating)))


def test_the_models_say_which_is_which():
    plain, skips = export("snapped", NPU), export("skipping", NPU)
    for folder, wanted in ((plain, False), (skips, True)):
        found = locate(folder)
        for each in (found, dataclasses.replace(found, int8=())):  # the compiled file says it too
            assert (each.bundle().gate is not None) is wanted


def test_without_a_run_there_is_no_rate():
    found = profile(export("skipping", NPU))
    assert found.skip is not None and found.skip.rate is None and not found.skip.network
    assert "update rate: the firmware did not run; all costs are of a frame that runs the network" in found.skipped


@needs_compiler
@needs_qemu
@pytest.mark.qemu
@pytest.mark.parametrize("backend", ["npu", "cpu"])
def test_the_firmwares_rate_scales_every_cost(backend):
    found = profile(export("skipping", NPU), firmware=Options("qemu", backend=backend))
    run, skip, npu = found.firmware, found.skip, found.npu
    assert 0 < run.updates < run.frames and skip.rate.rate == run.updates / run.frames
    assert skip.rate.signal == run.signal
    for each, cost in zip(run.stages, skip.stages, strict=False):
        assert cost.mean == each.mean and cost.second == pytest.approx(each.mean * 62.5)
        assert cost.update == pytest.approx(each.total / (run.updates if each.stage in SKIPPED else run.frames))
        assert cost.update <= each.most
    assert skip.stages[-1].mean < skip.stages[-1].update < 1.001 * run.frame.most
    (cycles,) = [each for each in skip.network if each.name == "cycles"]
    assert cycles.update == npu.cycles and cycles.mean == npu.cycles * skip.rate.rate
    assert cycles.origin.label == "estimated x update rate"
    if backend == "npu":
        assert run.npu.runs == run.updates
    pairs = zip(found.budget.updating, found.budget.shares, strict=True)
    assert all(worst.high >= share.high for worst, share in pairs)
