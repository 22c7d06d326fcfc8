"""Many graphs and plans in one program: their frames go in, every output comes back."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from firmware_network import KERNELS, MACHINES, SOURCES, TESTS, Program, compiled

from tinyse.export.cnetwork import CNetwork, c_network
from tinyse.export.packing import pack_matrix
from tinyse.graph.graph import Graph
from tinyse.graph.plan import Plan
from tinyse.graph.reference import Reference
from tinyse.graph.runner import Runner

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network, and frames to run it on twice, with a reset between; ``block``: rows of a tile, else as exported."""

    what: Graph | Plan
    frames: list[Values]
    block: int | None = None

    @property
    def plan(self) -> Plan:
        return self.what if isinstance(self.what, Plan) else Plan((self.what,), (self.what.outputs[0].name,))

    def expected(self) -> list[list[np.ndarray]]:
        """Per frame the outputs of every part, held where it has not run, and the result."""
        plan, runner = self.plan, Runner(self.plan)
        engines = [Reference(part) for part in plan.parts]
        held = {t.name: np.full(t.shape, t.grid.zero_point, t.grid.dtype) for part in plan.parts for t in part.outputs}

        def run(part: int, inputs: Values) -> Values:
            held.update(made := engines[part].run(inputs))
            for other in engines:  # a state of one name is one state
                other._past.update({name: engines[part]._past[name] for name in other._past.keys()
                                    & engines[part]._past.keys()})
            return made

        answers = []
        for _ in range(2):
            for values in self.frames:
                result = runner.step(run, values)
                answers.append([*(held[name].copy() for name in outputs(plan)), result.copy()])
            runner.reset()
            for engine in engines:
                engine.reset()
            held.update({t.name: np.full(t.shape, t.grid.zero_point, t.grid.dtype)
                         for part in plan.parts for t in part.outputs})
        return answers


def outputs(plan: Plan) -> list[str]:
    return list(dict.fromkeys(tensor.name for part in plan.parts for tensor in part.outputs))


def run(cases: list[Case], machine: str, folder: Path) -> list[list[list[np.ndarray]]]:
    """What the C of every case answers, in the form of ``Case.expected``; all in one program."""
    networks = [c_network(case.what, f"case_{number}", partial(pack_matrix, block=case.block))
                for number, case in enumerate(cases)]
    (folder / "packed.h").write_text("")
    (folder / "cases.c").write_text(_source(networks, [len(case.frames) for case in cases]))
    shutil.copyfile(TESTS / "network_harness.c", folder / "network_harness.c")
    sources = [*(SOURCES / file for file in KERNELS), folder / "cases.c"]
    program = Program(MACHINES[machine], compiled(machine, folder, sources), 1)
    given = b"".join(values[tensor.name].tobytes() for case in cases for _ in range(2) for values in case.frames
                     for tensor in case.plan.inputs)
    answer, at = program.pipe(given), 0
    found = []
    for case in cases:
        tensors = [*(case.plan.tensor(name) for name in outputs(case.plan)), case.plan.result]
        frames = []
        for _ in range(2 * len(case.frames)):
            frames.append([])
            for tensor in tensors:
                values = np.frombuffer(answer[at:at + tensor.bytes], tensor.grid.dtype)
                frames[-1].append(values.reshape(tensor.shape))
                at += tensor.bytes
        found.append(frames)
    assert at == len(answer)
    return found


def _source(networks: list[CNetwork], frames: list[int]) -> str:
    parts = [network.source(b"", tables=not number) for number, network in enumerate(networks)]
    parts.append(HEAD)
    rows = []
    for number, network in enumerate(networks):
        plan, prefix = network.plan, network.prefix
        ins = [(network.input(tensor), tensor.bytes) for tensor in plan.inputs]
        outs = [(network.arena.at(index, tensor), tensor.bytes) for name in outputs(plan)
                for index, tensor in [next((i, t) for i, part in enumerate(plan.parts) for t in part.outputs
                                           if t.name == name)]]
        outs.append((network.result, plan.result.bytes))
        places = ", ".join(f"{{ {offset}, {size} }}" for offset, size in (*ins, *outs))
        parts.append(f"static const uint32_t {prefix}_places[][2] = {{ {places} }};\n"
                     f"static _Alignas(16) uint8_t {prefix}_arena[ARENA({network.arena.bytes})];\n")
        rows.append(f"  {{ {prefix}_parts_reset, {prefix}_parts_run, {prefix}_arena, {network.arena.bytes}, "
                    f"{prefix}_places, {len(ins)}, {len(outs)}, {frames[number]} }},")
    top = max(network.arena.bytes for network in networks)
    shared = f"static _Alignas(16) uint8_t shared[{top}];\n"
    return "\n".join([*parts, shared, "static const struct one every[] = {", *rows, "};", MAIN])


HEAD = """
#define HARNESS_PARTS
#include "network_harness.c"

/* A host has an array for each, so that a sanitizer sees its ends. */
#ifdef __arm__
#define ARENA(bytes) 16
#else
#define ARENA(bytes) bytes
#endif

struct one {
  void (*reset)(uint8_t *arena);
  uint32_t (*run)(uint8_t *arena, uint32_t at);
  uint8_t *arena;
  uint32_t bytes;
  const uint32_t (*places)[2];
  uint32_t ins, outs, frames;
};
"""
MAIN = """
int main(void) {
  stream in = open("frames.bin", 0), out = open("masks.bin", 1), times = open("ticks.bin", 1);
  for (uint32_t i = 0; i < sizeof every / sizeof every[0]; ++i) {
    const struct one *one = &every[i];
    uint8_t *arena = sizeof case_0_arena == 16 ? shared : one->arena;
    memset(arena, 0x5A, one->bytes);
    for (uint32_t frame = 0; frame < 2 * one->frames; ++frame) {
      if (frame % one->frames == 0) {
        one->reset(arena);
      }
      for (uint32_t place = 0; place < one->ins; ++place) {
        if (!read(in, arena + one->places[place][0], one->places[place][1])) {
          return 1;
        }
      }
      const uint32_t before = ticks();
      (void)one->run(arena, 0);
      const uint32_t spent = ticks() - before;
      write(times, &spent, sizeof spent);
      for (uint32_t place = one->ins; place < one->ins + one->outs; ++place) {
        write(out, arena + one->places[place][0], one->places[place][1]);
      }
    }
  }
  close(out);
  close(times);
  return 0;
}
"""
