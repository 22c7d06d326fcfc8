import configparser
import importlib.util
from pathlib import Path

import pytest

from tinyse.core.errors import RecipeError
from tinyse.export.targets import ALIASES, Holds, load_target, target_names

NAMES = ["cortex-m55", "cortex-m7", "ethos-u55-128", "ethos-u55-256", "ethos-u55-32", "ethos-u55-64",
         "ethos-u65-256"]
NPU_NAMES = [name for name in NAMES if name.startswith("ethos")]

GOOD = """
description: my board
core: cortex-m55
clock_mhz: 400
board: mine
npu: {accelerator: ethos-u55-128, system_config: A, memory_mode: B, weights_per_cycle: 8}
memories:
  - name: sram
    kind: sram
    base: 0
    size: 4096
    holds: [arena, stack, code]
    axi: 0
    timing: {clock_scale: 1, burst_length: 32, read_latency: 32, write_latency: 32,
             max_reads: 4, max_writes: 4}
  - name: flash
    kind: flash
    base: 0x1000
    size: 4096
    holds: [model]
    axi: 1
    timing: {clock_scale: 0.125, burst_length: 128, read_latency: 64, write_latency: 0,
             max_reads: 2, max_writes: 0}
"""


def test_every_target_of_the_issue_is_shipped():
    assert target_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_target_loads_and_places_everything(name):
    target = load_target(name)
    assert target.name == name
    assert target.has_npu == name.startswith("ethos")
    assert {holds: target.memory(holds).name for holds in Holds}.keys() == set(Holds)
    spans = sorted((memory.base, memory.base + memory.size) for memory in target.memories)
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("alias", ["ethos-u55", "ethos-u65"])
def test_alias(alias):
    assert load_target(alias) == load_target(ALIASES[alias])


@pytest.mark.parametrize("name", NPU_NAMES)
def test_clock_and_timing_are_those_of_velas_own_file(name):
    """The roofline reckons with the target's numbers, Vela with its ini's: they must be the same."""
    target = load_target(name)
    assert target.npu is not None and target.npu.vela_config is None
    ini = configparser.ConfigParser()
    package = Path(next(iter(importlib.util.find_spec("ethosu").submodule_search_locations)))
    assert ini.read(package / "config_files" / "Arm" / "vela.ini")
    section = ini[f"System_Config.{target.npu.system_config}"]
    assert f"Memory_Mode.{target.npu.memory_mode}" in ini
    assert float(section["core_clock"]) == target.clock_mhz * 1e6
    ported = [memory for memory in target.memories if memory.axi is not None]
    assert {memory.axi for memory in ported} == {0, 1}
    for memory in ported:
        area = section[f"axi{memory.axi}_port"]
        assert float(section[f"{area}_clock_scale"]) == memory.timing.clock_scale
        for field in ("burst_length", "read_latency", "write_latency", "max_reads", "max_writes"):
            assert int(section[f"{area}_{field}"]) == getattr(memory.timing, field), field


def test_derived_numbers_of_the_default_target():
    target = load_target("ethos-u55-128")
    assert target.cycles_in(0.016) == 8_000_000
    assert target.bytes_per_cycle(target.memory("model")) == 1.0
    assert target.bytes_per_cycle(target.memory("arena")) == 8.0
    assert target.bytes_per_cycle(target.memory("code")) == 0.0
    assert target.npu.macs_per_cycle == 128
    assert target.vela_arguments() == [
        "--accelerator-config", "ethos-u55-128", "--config", "Arm/vela.ini",
        "--system-config", "Ethos_U55_High_End_Embedded", "--memory-mode", "Shared_Sram"]
    assert load_target("cortex-m7").vela_arguments() == []


def test_own_file_with_its_own_ini(tmp_path):
    (tmp_path / "own.ini").write_text("[System_Config.A]\n")
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("weights_per_cycle", "vela_config: own.ini, weights_per_cycle"))
    target = load_target(file)
    assert (target.name, target.npu.vela_config) == ("mine", tmp_path.resolve() / "own.ini")
    assert str(tmp_path.resolve() / "own.ini") in target.vela_arguments()


@pytest.mark.parametrize(("old", "new", "line"), [
    ("clock_mhz: 400", "clock_mhz: fast", "clock_mhz: 'fast' (a number from 1 to 4000 is expected)"),
    ("clock_mhz: 400", "clock_mhz: 0", "clock_mhz: 0 (a number from 1 to 4000 is expected)"),
    ("board: mine\n", "", "board is missing (every target names it; see docs/targets.md)"),
    ("board: mine", "board: mine\nvoltage: 3", "voltage: 3 (no such key is known; one of description, core, "
     "clock_mhz, board, memories, npu is expected)"),
    ("core: cortex-m55", "core: z80", "core: 'z80' (one of cortex-m55, cortex-m7 is expected)"),
    ("ethos-u55-128", "ethos-u55-129", "npu.accelerator: 'ethos-u55-129' (one of ethos-u55-32, ethos-u55-64, "
     "ethos-u55-128, ethos-u55-256, ethos-u65-256, ethos-u65-512 is expected)"),
    ("base: 0x1000", "base: -1", "memories[1].base: -1 (a whole number from 0 to 4294967295 is expected)"),
    ("kind: flash", "kind: core", "memories[1].kind: 'core' (one of sram, tcm, flash, dram is expected)"),
    ("holds: [model]", "holds: [modle]",
     "memories[1].holds: ['modle'] (a list out of model, arena, code, stack is expected)"),
    ("holds: [model]", "holds: []",
     "memories: model is held by none (exactly one memory with holds: [model] is expected)"),
    ("clock_scale: 0.125", "clock_scale: 2",
     "memories[1].timing.clock_scale: 2 (a number from 0.0001 to 1 is expected)"),
    ("max_reads: 2, ", "",
     "memories[1].timing.max_reads is missing (every target names it; see docs/targets.md)"),
    ("memory_mode: B", "memory_mode: B, vela_config: no.ini", "npu.vela_config: 'no.ini' "
     "(the path of an ini file, relative to the target file, is expected)"),
])
def test_bad_value_is_one_line_naming_file_key_value_and_what_is_accepted(tmp_path, old, new, line):
    file = tmp_path / "bad.yaml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_target(file)
    assert caught.value.line() == f"{file}: {line}"


def test_unknown_name_lists_the_known():
    with pytest.raises(RecipeError) as caught:
        load_target("ethos-u99")
    assert caught.value.line() == (f"target 'ethos-u99' is not known (one of {', '.join(NAMES)}, "
                                   "or the path of a .yaml file)")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- 1", b""])
def test_what_is_no_target_is_one_line(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match="bad.yaml") as caught:
        load_target(file)
    assert "\n" not in caught.value.line()


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        load_target(tmp_path / "none.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(RecipeError, match="is no YAML: name stands twice"):
        load_target(path)
