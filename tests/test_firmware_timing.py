"""Timing adapters from target files, and the user's own core driver behind npu.h."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from npu_harness import ERROR_NPU, build, export, output

from tinyse.core.errors import RecipeError
from tinyse.export.cparts import npu_parts
from tinyse.export.targets import load_target, target_names
from tinyse.firmware.timing import adapters, timing_header

# Timing adapters


def target(text: str, tmp_path: Path):
    path = tmp_path / "board.yaml"
    path.write_text(text)
    return load_target(path)


def text_of(name: str) -> str:
    return (load_target(name).path).read_text()


@pytest.mark.parametrize(("name", "lines"), [
    # Vela's Ethos_U55_High_End_Embedded: SRAM at full width, flash at an eighth with two reads of 64 cycles
    ("ethos-u55-128", ["sram 0 1 4 4 0 32 32 3999 1 4000 0 0 1 0 0 0", "ddr 1 1 2 0 0 64 0 320 80 50 0 0 1 0 0 0",
                       "1 0 0"]),
    ("ethos-u65-256", ["sram 0 1 16 16 0 32 32 3999 1 4000 0 0 1 0 0 0",
                       "ddr 1 1 24 12 0 500 250 3200 800 938 0 0 1 0 0 0", "1 1 0"]),
])
def test_timing_adapters_hold_the_targets_numbers(tmp_path, name, lines) -> None:
    (tmp_path / "timing.h").write_text(timing_header(load_target(name)))
    program = build("timing_main", "timing_adapter", options=(f"-I{tmp_path}",))
    assert output(program, 0x1117) == lines
    assert output(program, 0)[0] == "sram 0 0" + " 0" * 14, "where no adapter answers nothing is written"


def test_every_npu_target_fits_the_adapters() -> None:
    for name in target_names():
        chosen = load_target(name)
        made = adapters(chosen)
        assert len(made) == (2 if chosen.has_npu else 0)
        for adapter in made:
            timing = next(memory.timing for memory in chosen.memories if memory.name == adapter.memory)
            cycles = adapter.pulse_on + adapter.pulse_off
            assert adapter.words_per_pulse / cycles == pytest.approx(timing.clock_scale, rel=1e-3)
        assert ("tinyse_timing" in timing_header(chosen)) == chosen.has_npu


def test_timing_that_does_not_fit_is_refused(tmp_path) -> None:
    text = text_of("ethos-u55-128")
    with pytest.raises(RecipeError, match="memory ddr: read_latency 5000 does not fit a timing adapter"):
        timing_header(target(text.replace("read_latency: 64", "read_latency: 5000"), tmp_path))
    with pytest.raises(RecipeError, match="two memories with a timing are behind one NPU port"):
        timing_header(target(text.replace("axi: 1", "axi: 0"), tmp_path))


# Core driver

FAKE = """#include <stddef.h>
#include <stdint.h>
struct ethosu_driver;
struct ethosu_driver *ethosu_reserve_driver(void);
void ethosu_release_driver(struct ethosu_driver *drv);
int ethosu_invoke_v3(struct ethosu_driver *drv, const void *custom_data_ptr, const int custom_data_size,
                     const uint64_t *base_addr, const size_t *base_addr_size, const int num_base_addr,
                     void *user_arg);
"""


def test_core_driver_gets_payload_and_three_regions(tmp_path) -> None:
    (tmp_path / "ethosu_driver.h").write_text(FAKE)
    program = build("core_main", "core_driver", "payload", extra=(export() / "model.c",),
                    options=("-DTINYSE_ETHOSU_CORE_DRIVER", f"-I{tmp_path}"))
    data = (export() / "model_vela.tflite").read_bytes()
    parts = npu_parts(data)
    arena = int(re.search(r"TINYSE_ARENA_BYTES +(\d+)", (export() / "model.h").read_text())[1])
    invoke = f"invoke 1 1 {parts.payload_bytes} 3 1 1:{parts.weights_bytes} 1:{arena} 1:{arena}"
    assert output(program, 0, 1) == ["core-driver", "open 0", "reserve", invoke, "release 1", "run 0 1 "]
    assert output(program, -1, 1)[-2:] == [
        "release 1", f"run {ERROR_NPU} 0 ethosu_invoke_v3 failed; the core driver logs why"]
    assert output(program, 0, 0)[-1] == f"run {ERROR_NPU} 0 the core driver has no NPU: ethosu_init comes first"
