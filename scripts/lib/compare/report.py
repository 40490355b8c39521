"""Tables for people: on the terminal, and as summary.md and method.md in the results folder."""

import datetime
import shlex
import sys

from . import build, machine
from .statistics import best, paired_ratio, summarise


def ratio_text(ratio):
    return "–" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def value_text(metric, summary):
    if summary is None:
        return "–"
    return f"{metric.format(summary.median)} ({metric.format(summary.low)}–" \
           f"{metric.format(summary.high)})"


def series(outcome, name, metric):
    return [metric.of(result) for result in outcome.results.get(name, [])]


def marks(results):
    """A dagger for each row in which the generator did not call a run VALID."""
    verdicts = [result.get("verdict") for result in results if result]
    return " †" if any(verdict not in ("VALID", None) for verdict in verdicts) else ""


def tables(workload, outcome):
    """The tables of a workload: (heading or nothing, header, lines)."""
    if not workload.pairs:
        return [("", *workload_table(workload, outcome))]
    every = [pair_table(workload, metric, outcome) for metric in workload.metrics]
    if workload.story:
        every.append(story_table(workload, outcome))
    return every


def pair_table(workload, metric, outcome):
    """One metric where each row has a second one to be divided by its first."""
    header = ["server", "without", "with", *(["with ÷ without"] if metric.has_ratio else [])]
    lines = []
    for plain, changed in workload.pairs:
        if plain not in outcome.results:
            continue
        both = [*outcome.results[plain], *outcome.results.get(changed, [])]
        without, with_ = (series(outcome, name, metric) for name in (plain, changed))
        cells = [plain + marks(both), value_text(metric, summarise(without)),
                 value_text(metric, summarise(with_))]
        if metric.has_ratio:
            cells.append(ratio_text(paired_ratio(with_, without)))
        lines.append(cells)
    return metric.name, header, lines


def story_table(workload, outcome):
    """What the load generator and the server's memory tell in words, first round that ran."""
    title, tell = workload.story
    lines = []
    for plain, changed in workload.pairs:
        known = [result for result in outcome.results.get(changed, []) if result]
        if known:
            lines.append([plain, tell(known[0])])
    return title, ["server", "in the first round"], lines


def workload_table(workload, outcome):
    """Header and rows: medians with their range, and ratios of the subject to each row."""
    compared = [metric for metric in workload.metrics if metric.has_ratio]
    header = ["server", *(metric.name for metric in workload.metrics)]
    header += [f"{workload.subject} ÷ it, {metric.name}" for metric in compared]
    lines = []
    for name, results in outcome.results.items():
        cells = [name + marks(results)]
        for metric in workload.metrics:
            cells.append(value_text(metric, summarise(series(outcome, name, metric))))
        for metric in compared:
            if name == workload.subject:
                cells.append("1")
                continue
            subject = series(outcome, workload.subject, metric)
            cells.append(ratio_text(paired_ratio(subject, series(outcome, name, metric))))
        lines.append(cells)
    return header, lines


def goal_lines(workload, outcome):
    """One line per scoreboard goal: item, text, ratio, verdict."""
    lines = []
    for goal in workload.goals:
        references = [series(outcome, name, goal.metric) for name in goal.references
                      if name in outcome.results]
        ratio = None
        if references:
            ratio = paired_ratio(series(outcome, goal.subject, goal.metric),
                                 best(references, goal.metric.smaller_is_better))
        if ratio is None:
            verdict = "not measured"
        else:
            verdict = "met" if goal.is_met_by(ratio.median) else "missed"
        lines.append([goal.item, goal.text, ratio_text(ratio), verdict])
    return lines


def markdown_table(header, lines):
    rows = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    rows += ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join(rows)


def plain_table(header, lines):
    """The same for a terminal: columns aligned."""
    table = [header, *lines]
    widths = [max(len(cells[index]) for cells in table) for index in range(len(header))]
    out = []
    for number, cells in enumerate(table):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
        if number == 0:
            out.append("  ".join("─" * width for width in widths))
    return "\n".join(out)


def split_table(header, lines, metric_count):
    """Values and ratios as two tables."""
    values = [cells[: 1 + metric_count] for cells in lines]
    ratios = [[cells[0], *cells[1 + metric_count:]] for cells in lines]
    short = [title.split(", ", 1)[-1] for title in header[1 + metric_count:]]
    subject = header[1 + metric_count].split(" ÷ ")[0]
    return (plain_table(header[: 1 + metric_count], values) + "\n\n"
            + plain_table([f"{subject} ÷ …", *short], ratios))


def terminal_tables(workload, every):
    """The terminal is narrow: tables in pieces."""
    if not workload.pairs:
        _, header, lines = every[0]
        return split_table(header, lines, len(workload.metrics))
    return "\n\n".join(f"{heading}\n\n{plain_table(header, lines)}"
                       for heading, header, lines in every)


def markdown_tables(every):
    return [part for heading, header, lines in every
            for part in ([f"**{heading}**"] if heading else []) + [markdown_table(header, lines)]]


def trouble(outcome):
    """Missing contenders and failed runs, as lines."""
    lines = [f"missing: {name}: {reason}" for name, reason in outcome.missing.items()]
    lines += [f"failed: {failure}" for failure in outcome.failures]
    return lines


GENERATOR_NOTE = (
    "† In at least one round the load generator judged its own run SUSPECT or INVALID, as a rule "
    "because it was as busy as the server. Rates and latencies of such a row say what the pair "
    "reached together; server CPU per message is still the server's own."
)


def contender_lines(contenders):
    """Who took part, in which version and configuration."""
    names = [name for contender in contenders for name in contender.versions]
    versions = {line.split()[0]: line for line in build.locked_versions(names)}
    lines = []
    for contender in contenders:
        known = [versions.get(name) or build.version_text(name) for name in contender.versions]
        suffix = f" ({', '.join(known)})" if known else ""
        lines.append(f"- **{contender.name}**{suffix}: {contender.configuration}")
    return lines


def summary_page(topic, sections, outcome, plots, contenders=()):
    parts = [f"# {topic}", "", "Medians over the rounds, with the lowest and highest value in "
             "brackets. Ratios are formed within a round and then summarised in the same way. "
             "How it was measured: [method.md](method.md); every report: `raw/`.", ""]
    parts += [part for section in sections for part in (section, "")]
    parts += [f"![{name}]({name})" for name in plots]
    if any("†" in section for section in sections):
        parts += ["", GENERATOR_NOTE]
    if contenders:
        parts += ["", "## Contenders", "", *contender_lines(contenders)]
    if lines := trouble(outcome):
        parts += ["", "## Missing and failed", "", *(f"- {line}" for line in lines)]
    return "\n".join(parts) + "\n"


def method_page(topic, settings, contenders, outcome, extra):
    facts = machine.facts(build.CHECKOUT)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"# Method: {topic}", "", f"Measured {now} with `scripts/compare {shlex.join(sys.argv[1:])}`.", "",
             "## Machine", ""]
    parts += [f"- {name}: {value}" for name, value in facts.items()]
    parts += [f"- largest share of time that the hypervisor took away during a run: "
              f"{outcome.stolen_share_max:.1%}",
              "- server and generator share one machine and its loopback", "", "## Procedure", ""]
    parts += [f"- {line}" for line in extra]
    parts += ["", "## Contenders", "", *contender_lines(contenders)]
    parts += ["", "## Commands of the first round", "", "```", *outcome.commands, "```", ""]
    return "\n".join(parts)
