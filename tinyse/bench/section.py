"""The comparison as text: the generated part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence

from tinyse.bench.document import table
from tinyse.bench.facts import Facts
from tinyse.bench.quality import HELD_OUT, UNSEEN, Quality
from tinyse.measure.scores.metrics import LABELS
from tinyse.measure.scores.result import NOISY, SOURCE, Evaluation

PER_SNR = ("si_sdr", "pesq", "stoi", "dnsmos_ovrl")
TITLES = {
    HELD_OUT: ("Held-out mixtures", "The default tier's test split, as of `tinyse evaluate`: French and Belarusian "
               "speech, blanket's noise. No model of tinyse has heard the speakers, the languages or the recordings."),
    UNSEEN: ("Unseen mixtures", "The unseen tier (docs/corpus.md): packages of which no model of tinyse has heard "
             "anything, other people and other recording chains. No peer's list of training data names these packages; "
             "sounds that were published elsewhere too (Freesound) may be in the DNS Challenge's noise all the same."),
}


def section(quality: Quality, figures: Sequence[tuple[str, str]] = ()) -> str:
    """Markdown of the whole comparison.

    Args:
        quality: what was measured.
        figures: file name and caption of each plot.
    """
    parts = ["## Side by side with the peers", _facts(quality.facts), _missing(quality)]
    for name, evaluation in quality.tables.items():
        title, about = TITLES.get(name, (name, ""))
        parts += [f"### {title}", about, _about(evaluation), _means(evaluation), _per_snr(evaluation),
                  "\n".join(f"* {line}" for line in evaluation.skips())]
    parts += [f"![{caption}]({file})" for file, caption in figures]
    parts += ["### What the peers learnt from", _training(quality.facts)]
    return "\n\n".join(part for part in parts if part)


def _facts(facts: Sequence[Facts]) -> str:
    header = ("", "parameters", "weight bytes", "MMAC/s", "latency, ms", "real-time factor", "rate, kHz")
    rows = [(_bold(fact), _whole(fact.size.parameters), _whole(fact.size.weight_bytes),
             "-" if fact.size.macs is None else f"{fact.size.macs / 1e6:.1f}", f"{fact.latency_ms:.0f}",
             f"{fact.real_time_factor:.4f}", f"{fact.rate / 1000:g}") for fact in facts]
    how = [f"* {fact.name} ({fact.package}): {fact.size.how}." for fact in facts]
    return "\n".join([
        table(header, rows), "",
        "Parameters, bytes and multiply-accumulates: **exact**, transforms and element-wise work not counted. Latency: "
        "**exact**, the output's delay and the hop that must have arrived; that the delay is the true one is tested by "
        f"cross-correlation. Real-time factor: **{SOURCE}**, CPU time of one thread through the adapter over the "
        "length of the sound; an interpreter called from Python frame by frame is slower than the same network in C.",
        "", *how])


def _means(evaluation: Evaluation) -> str:
    header = ("mean of all clips", *(LABELS[column] for column in evaluation.columns))
    return table(header, [(system, *(_score(evaluation, system, column) for column in evaluation.columns))
                          for system in evaluation.systems])


def _score(evaluation: Evaluation, system: str, column: str) -> str:
    text = _number(evaluation.mean(system, column), column)
    margin = None if system == NOISY or column not in ("si_sdr", "pesq") else evaluation.margin(system, column)
    return text if margin is None else f"{text} ± {_number(margin, column)}"


def _per_snr(evaluation: Evaluation) -> str:
    tables = []
    for column in (column for column in PER_SNR if column in evaluation.columns):
        header = (LABELS[column], *(f"{snr:g} dB" for snr in evaluation.snrs))
        rows = [(system, *(_number(evaluation.mean(system, column, snr), column) for snr in evaluation.snrs))
                for system in evaluation.systems]
        tables.append(table(header, rows))
    return "\n\n".join(tables)


def _about(evaluation: Evaluation) -> str:
    known = evaluation.provenance
    return (f"{len(evaluation.clips)} clips of {known['seconds']:g} s, {known['count_per_snr']} an SNR, seed "
            f"{known['seed']}, corpus {known['corpus'][:12]}, samples {known['audio_sha256'][:12]}; {SOURCE}. After ± "
            "half of the 95 % interval of the mean gain over the noisy input.")


def _missing(quality: Quality) -> str:
    return "\n".join(f"* **{name} is missing**: {reason}" for name, reason in sorted(quality.missing.items()))


def _training(facts: Sequence[Facts]) -> str:
    lines = ["| | trained on | may have heard of the tables' sound | licence |", "|---|---|---|---|"]
    lines += [f"| {fact.name} | {fact.trained_on} ({fact.source}) | {fact.heard} | {fact.licence} |" for fact in facts]
    return "\n".join(lines)


def _bold(fact: Facts) -> str:
    return f"**{fact.name}**" if fact.ours else fact.name


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _number(value: float | None, column: str) -> str:
    return "-" if value is None else f"{value:.3f}" if column == "stoi" else f"{value:.2f}"
