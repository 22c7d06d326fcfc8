"""The firmware's groups of a profile as tables of text; every title carries what produced its numbers."""

from __future__ import annotations

from itertools import groupby

from tinyse.core.origin import Origin, Source
from tinyse.measure.costs.budget import LATENCY_LIMIT_MS, LATENCY_PAPER_MS
from tinyse.measure.costs.firmware import STAGE_NAMES, FirmwareMemory, FirmwareRun, FrameBudget, RunnerRun, Share
from tinyse.measure.costs.results import NpuEstimate, Profile
from tinyse.measure.costs.skipping import SkipCost, SkipRate
from tinyse.measure.costs.table import Table, percent

WIDTH = 50
"""Columns of the frame budget's bar."""
MARKS = "TFQNMS"
BEAT_BYTES = 8


def firmware_tables(profile: Profile) -> list[Table]:
    """Every group that comes from running the firmware."""
    run = profile.firmware
    if run is None:
        return []
    found = [stage_table(run, profile.skip)]
    if run.npu is not None and run.npu_origin is not None:
        found.append(npu_table(run, run.npu_origin))
    if profile.runner is not None:
        found.append(runner_table(profile.runner, run))
    if profile.budget is not None:
        found.append(budget_table(profile.budget, run, profile.npu, profile.skip))
    if profile.memory is not None:
        found.append(memory_table(profile.memory))
        found.append(placement_table(profile.memory))
    found.append(Table(f"memory at run time, {said(run.origin)}", notes=(
        f"state {run.state_bytes:,} B, arena {run.arena_bytes:,} B"
        + (f", stack {run.stack_used:,} of {run.stack_bytes:,} B used" if run.stack_bytes else ""),)))
    return found


def said(origin: Origin) -> str:
    """Label and tool, as titles show them."""
    return f"{origin.label} ({origin.tool})"


def rate_note(rate: SkipRate) -> str:
    """How often a Skip RNN's network ran, and on what."""
    return f"the network ran on {rate.updates:,} of {rate.frames:,} frames of {rate.signal}: {100 * rate.rate:.1f} %"


def stage_table(run: FirmwareRun, skip: SkipCost | None = None) -> Table:
    """A row a stage: per frame, share, the longest, all frames; of a Skip RNN also of an update and a second."""
    rows: list[tuple[str, ...]] = []
    for each in run.stages:
        name = STAGE_NAMES[each.stage]
        if each.stage == "network" and run.transfer:
            name = "way to the NPU simulator"
        elif each.stage == "network" and run.backend == "npu":
            name = "network (NPU; the processor waits)"
        rows.append((name, f"{each.mean:,.0f}", percent(each.mean, run.frame.mean), f"{each.most:,.0f}",
                     f"{each.total:,.0f}"))
    rows.append(("frame", f"{run.frame.mean:,.0f}", "100.0 %", f"{run.frame.most:,.0f}", f"{run.frame.total:,.0f}"))
    header: tuple[str, ...] = ("stage", f"{run.unit} a frame", "share", "longest", "all frames")
    notes = [f"front and back end {run.ends:,.0f} {run.unit} a frame; {run.frames:,} frames of {run.signal}"]
    if skip is not None and skip.rate is not None:
        header = (*header[:3], "an update", header[3], "a second of audio", header[4])
        rows = [(*row[:3], f"{cost.update:,.0f}", row[3], f"{cost.second:,.0f}", row[4])
                for row, cost in zip(rows, skip.stages, strict=True)]
        notes += [rate_note(skip.rate), "an update: a frame that runs the network; the others compute no features"]
    if run.transfer:
        notes += ["the network ran on the NPU simulator: what the processor spends on sending the arena there",
                  "and back is no cost of the network, and counts nowhere below"]
    if run.origin.where == "FVP":
        notes.append("the FVP's processor is not cycle-accurate; its NPU is")
    if run.origin.where == "host":
        notes.append("this machine's time; says nothing about the target")
    return Table(f"firmware profiled on {run.board} ({run.core}, {run.backend}, {run.kernels}), {said(run.origin)}",
                 header, tuple(rows), tuple(notes))


def npu_table(run: FirmwareRun, origin: Origin) -> Table:
    """The NPU's counters per run."""
    npu = run.npu
    assert npu is not None
    runs = max(1, npu.runs)
    title = f"NPU, {said(origin)}: {npu.name}, {npu.runs:,} runs"
    if origin.source is Source.SIMULATED:
        return Table(title, notes=("no cycles: its bytes and MACs are in the command stream's table",))
    rows = [("cycles", npu.cycles, ""), ("active", npu.active, ""), ("arena read", npu.axi0_read, "beats"),
            ("arena written", npu.axi0_write, "beats"), ("model read", npu.axi1_read, "beats")]
    adapters = run.timing_adapters or {}
    notes = [f"timing adapter {name}: " + ", ".join(f"{key} {value}" for key, value in values.items())
             for name, values in adapters.items()] or ["timing adapters: none were set"]
    return Table(title, ("a run", "count", "bytes"), tuple(
        (name, f"{count / runs:,.0f}", f"{count * BEAT_BYTES / runs:,.0f}" if kind else "")
        for name, count, kind in rows), tuple(notes))


def runner_table(done: RunnerRun, run: FirmwareRun) -> Table:
    """Arm's runner beside ours; a ratio only where both counted the same thing."""
    kinds = ", ".join(f"{len(list(group))} x {kind}" for kind, group in groupby(done.operators))
    notes = [f"{done.time_steps} time step, one inference from the reset state", kinds,
             f"TFLM's arena on the target {done.arena:,} B"]
    rows: tuple[tuple[str, ...], ...] = ()
    if done.instructions is not None:
        rows = (("inside TFLM's Invoke(), patched runner", f"{done.instructions:,.0f}"),)
        if run.unit == "instructions" and run.backend == "cpu":
            ours = run.updating("network")
            rows += ((f"our network ({run.kernels}), a frame", f"{ours:,.0f}"),)
            notes.insert(0, f"ours / TFLM + CMSIS-NN: {ours / done.instructions:.3f}")
            if run.core != "cortex-m55":
                notes.append(f"ours ran on a {run.core}, Arm's on a Cortex-M55: the ratio compares two processors")
        notes.append("two instructions of the hook that reads the counter are among them, and the runner's SysTick")
    elif done.npu is not None:
        rows = (("NPU cycles", f"{done.npu.cycles:,}"), ("NPU active", f"{done.npu.active:,}"))
    return Table(f"Arm's prebuilt runner, {said(done.origin)}", ("one inference", "count"), rows, tuple(notes))


def budget_table(budget: FrameBudget, run: FirmwareRun, npu: NpuEstimate | None,
                 skip: SkipCost | None = None) -> Table:
    """Share of the hop a stage, a bar, and the latency; of a Skip RNN also in a frame that runs the network."""
    exact = budget.cpi_low == budget.cpi_high

    def span(low: float, high: float, digits: int, unit: str) -> str:
        text = f"{low:,.{digits}f}" if exact else f"{low:,.{digits}f} to {high:,.{digits}f}"
        return f"{text}{unit}"

    def cells(low: float, high: float) -> tuple[str, str]:
        return span(low, high, 0, ""), span(budget.percent(low), budget.percent(high), 2, " %")

    header: tuple[str, ...] = ("", "stage", "cycles", "of the hop")
    rows: list[tuple[str, ...]] = [
        (MARKS[list(STAGE_NAMES).index(each.stage)], STAGE_NAMES[each.stage], *cells(each.low, each.high))
        for each in budget.shares]
    rows.append(("", "sum", *cells(budget.low, budget.high)))
    notes = [bar(budget, budget.shares),
             f"{budget.clock_mhz:g} MHz: {budget.hop_cycles:,.0f} cycles a hop of {hop(budget)}"]
    if budget.updating:
        header = (*header, "an update", "of the hop")
        worst = [cells(each.low, each.high) for each in budget.updating]
        worst.append(cells(sum(each.low for each in budget.updating), sum(each.high for each in budget.updating)))
        rows = [(*row, *more) for row, more in zip(rows, worst, strict=True)]
        notes[:1] = [f"{bar(budget, budget.shares)}, mean", f"{bar(budget, budget.updating)}, an update"]
    if not exact:
        notes += [f"{budget.cpi_low:g} to {budget.cpi_high:g} cycles an instruction are an assumption:", budget.basis]
    low, high = budget.milliseconds(budget.low), budget.milliseconds(budget.high)
    if run.backend == "npu":
        notes.append(f"the processor's part takes {span(low, high, 2, ' ms')}; the network is not in it")
        if run.npu is not None and run.npu_origin is not None and not run.transfer:
            cycles = run.npu.cycles / max(1, run.npu.runs)
            notes.append(f"network on the NPU, {said(run.npu_origin)}: {cycles:,.0f} cycles, "
                         f"{budget.milliseconds(cycles):.2f} ms, {budget.percent(cycles):.2f} % of the hop")
        if npu is not None:
            notes.append(f"network on the NPU, {said(npu.origin)}: {npu.cycles:,} cycles, {npu.milliseconds:.2f} ms, "
                         f"{100 * npu.hop_share:.2f} % of the hop")
            if skip is not None and skip.rate is not None:
                mean = skip.rate.rate
                notes.append(f"on average, x the update rate {100 * mean:.1f} %: {npu.cycles * mean:,.0f} cycles, "
                             f"{npu.milliseconds * mean:.2f} ms, {100 * npu.hop_share * mean:.2f} % of the hop")
    else:
        longest = span(budget.milliseconds(budget.most_low), budget.milliseconds(budget.most_high), 2, " ms")
        average = "on average " if budget.updating else ""
        notes += [f"computational latency {average}{span(low, high, 2, ' ms')}, longest frame {longest}",
                  f"TinyLSTMs' limit is {LATENCY_LIMIT_MS:g} ms; its own network took {LATENCY_PAPER_MS:g} ms "
                  "(Cortex-M7, 216 MHz)"]
    return Table(f"frame budget, {said(budget.origin)}", header, tuple(rows), tuple(notes))


def hop(budget: FrameBudget) -> str:
    """The time between two frames."""
    return f"{budget.milliseconds(budget.hop_cycles):g} ms"


def bar(budget: FrameBudget, shares: tuple[Share, ...]) -> str:
    """The hop as ``WIDTH`` characters, each stage its letter, at the upper end of the range."""
    text, done = "", 0.0
    for each in shares:
        done += each.high
        end = min(WIDTH, round(WIDTH * done / budget.hop_cycles))
        text += MARKS[list(STAGE_NAMES).index(each.stage)] * (end - len(text))
    return f"[{text.ljust(WIDTH, '.')}] {'over the hop!' if done > budget.hop_cycles else hop(budget)}"


def memory_table(memory: FirmwareMemory) -> Table:
    """Bytes of each of the target's memories, with the margin, and the ELF's sums."""
    rows = tuple((each.memory, each.kind, f"{each.used:,}", f"{each.size:,}", f"{each.left:,}",
                  percent(each.left, each.size)) for each in memory.budgets)
    return Table(f"memory of the {memory.board} image ({memory.backend}), {said(memory.origin)}",
                 ("memory", "kind", "used", "of", "left", "margin"), rows,
                 (f"text {memory.text:,} B, rodata {memory.rodata:,} B, data {memory.data:,} B, bss {memory.bss:,} B "
                  "(arena and stack included)",))


def placement_table(memory: FirmwareMemory) -> Table:
    """Where every named buffer is."""
    rows = tuple((each.name, f"{each.address:#010x}", f"{each.size:,}", each.memory or "nowhere",
                  "as the target wants" if each.right else f"WRONG, wanted {each.wanted or 'RAM'}")
                 for each in memory.placements)
    return Table(f"placement, {said(memory.origin)}", ("buffer", "address", "bytes", "memory", ""), rows,
                 memory.problems)
