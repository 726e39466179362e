//! `summary.md`: the report for people. The verdict stands in the first line, what to do next in the last.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use super::figure;
use super::json::{FaultFacts, OutageFacts, QuantileFacts, Report};
use super::verdict::Verdict;

/// Most lost or otherwise wrong turns that are named one by one; all of them are in report.json.
const NAMED_MAX: usize = 5;

/// The text of `summary.md`.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    write(report, &mut text).expect("a string takes all text");
    text
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(out, "# {}: {}\n", report.drill.name, headline(report))?;
    let drill = &report.drill;
    writeln!(
        out,
        "{}, {} conversations, {} turns/s, probes of {} every {}, for {}. Lab `{}` of `{}`, labctl {} on {}.\n",
        drill.started_at,
        drill.conversations,
        drill.turns_per_s,
        drill.vip,
        time(drill.probe_interval_us),
        time(drill.duration_us),
        drill.lab,
        drill.topology,
        drill.version,
        drill.machine,
    )?;
    checks(report, out)?;
    faults(report, out)?;
    load(report, out)?;
    memory(report, out)?;
    usage(report, out)?;
    measurement(report, out)?;
    next(report, out)
}

fn headline(report: &Report) -> String {
    let verdict = report.verdict.to_string().to_uppercase();
    let names = |result| {
        let checks = report.checks.iter().filter(|check| check.result == result);
        checks.map(|check| format!("{}: {}", check.claim, check.measured)).collect::<Vec<_>>().join("; ")
    };
    match (&report.aborted, report.verdict) {
        (Some(why), _) => format!("{verdict} ({why})"),
        (None, Verdict::Pass | Verdict::Aborted) => verdict,
        (None, result @ (Verdict::Fail | Verdict::Unknown)) => format!("{verdict} ({})", names(result)),
    }
}

fn checks(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(out, "| check | expected | measured | result |\n|---|---|---|---|")?;
    for check in &report.checks {
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            check.claim,
            cell(&check.expected),
            cell(&check.measured),
            check.result
        )?;
    }
    writeln!(out)
}

fn faults(report: &Report, out: &mut String) -> fmt::Result {
    if report.faults.is_empty() {
        return writeln!(out, "No fault was injected.\n");
    }
    writeln!(out, "## After each fault\n")?;
    write!(out, "| phase |")?;
    for fault in &report.faults {
        write!(out, " {} of {} at {} |", fault.action, fault.target, signed(fault.at_us))?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(report.faults.len()))?;
    for phase in
        ["first loss", "elected", "VIP added", "announced", "database leader", "first success", "steady"]
    {
        if report.faults.iter().all(|fault| reached(fault, phase).is_none()) {
            continue;
        }
        row(out, phase, report, |fault| reached(fault, phase).map(|us| format!("+{}", signed(us))))?;
    }
    row(out, "**outage**", report, |fault| fault.outage.as_ref().map(bracket))?;
    row(out, "probes lost", report, |fault| {
        fault.outage.as_ref().map(|outage| outage.lost_probes.to_string())
    })?;
    row(out, "longest pause", report, |fault| fault.pause_us.map(time))?;
    row(out, "turns acknowledged", report, |fault| Some(fault.acknowledged_turns.to_string()))?;
    writeln!(out)?;
    if !report.holder_changes.is_empty() {
        let step = |to: &str, from: Option<&str>, at_us| {
            format!("{} -> {to} at {}", from.unwrap_or("nobody"), signed(at_us))
        };
        let steps: Vec<_> = report
            .holder_changes
            .iter()
            .map(|change| step(&change.to, change.from.as_deref(), change.at_us))
            .collect();
        writeln!(out, "The VIP moved: {}.\n", steps.join(", "))?;
    }
    Ok(())
}

fn row(
    out: &mut String,
    name: &str,
    report: &Report,
    figure: impl Fn(&FaultFacts) -> Option<String>,
) -> fmt::Result {
    write!(out, "| {name} |")?;
    for fault in &report.faults {
        write!(out, " {} |", figure(fault).unwrap_or_else(|| "-".to_owned()))?;
    }
    writeln!(out)
}

fn reached(fault: &FaultFacts, phase: &str) -> Option<i64> {
    fault.phases.iter().find(|reached| reached.phase == phase).map(|reached| reached.after_us)
}

fn load(report: &Report, out: &mut String) -> fmt::Result {
    let turns = &report.turns;
    writeln!(out, "## Turns\n")?;
    writeln!(
        out,
        "- {} scheduled, {} attempted, {} acknowledged, {} never; {} took a retry; attempts: {}; acknowledged by: {}.",
        turns.scheduled,
        turns.attempted,
        turns.acknowledged,
        turns.never_acknowledged,
        turns.retried,
        counts(&turns.attempts),
        counts(&turns.served_by)
    )?;
    writeln!(
        out,
        "- Latency of acknowledged turns, from their place on the timetable: {}.",
        quantiles(&report.latency)
    )?;
    if !report.faults.is_empty() {
        writeln!(out, "- Before the first fault: {}.", quantiles(&report.latency_before_faults))?;
    }
    if let Some(pause) = &report.pause {
        writeln!(
            out,
            "- Longest time without an acknowledgement: {}, from {} on.",
            time(pause.length_us),
            signed(pause.from_us)
        )?;
    }
    for (what, list) in [
        ("Lost", &turns.lost),
        ("Duplicated", &turns.duplicated),
        ("Nobody's", &turns.phantoms),
        ("Transcripts differ", &turns.disagreements),
        ("Out of order", &turns.disordered),
        ("Not read back", &turns.unread),
        ("Not read by every web", &turns.partly_read),
    ] {
        if !list.is_empty() {
            let more = list.len().saturating_sub(NAMED_MAX);
            let named = list[..list.len() - more].join(", ");
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            writeln!(out, "- {what}: {named}{rest}.")?;
        }
    }
    writeln!(out)
}

fn memory(report: &Report, out: &mut String) -> fmt::Result {
    let memory = &report.memory;
    writeln!(out, "## Memory\n")?;
    let consistent = match memory.consistent {
        Some(true) => "yes",
        Some(false) => "no",
        None => "nobody can tell",
    };
    writeln!(
        out,
        "- Consistent: {consistent}; {} operations, {} reads ({} not answered); {} turns of unknown outcome, {} of them kept.",
        memory.operations,
        memory.reads + memory.unanswered_reads,
        memory.unanswered_reads,
        memory.unknown_turns,
        memory.unknown_turns_kept,
    )?;
    writeln!(
        out,
        "- Where acknowledged turns are kept, as the answers said: {}.",
        counts(&report.turns.durability)
    )?;
    if !memory.contradictions.is_empty() {
        writeln!(out, "- Conversations that contradict themselves: {}.", counts(&memory.contradictions))?;
    }
    for shortfall in &memory.shortfalls {
        writeln!(out, "- Shows too little: {shortfall}.")?;
    }
    if !memory.story.is_empty() {
        // As it stands: what is said of keys and nodes must not become markup.
        let story = memory.story.join("\n").replace("```", "``");
        writeln!(out, "\n```\n{story}\n```")?;
    }
    writeln!(out)
}

/// Who bore the load.
fn usage(report: &Report, out: &mut String) -> fmt::Result {
    if report.usage.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "## What it cost {}\n",
        if report.faults.is_empty() { "in all" } else { "before the first fault" }
    )?;
    writeln!(
        out,
        "| node | role | processor | a turn | memory | written | received | sent |\n|---|---|{}",
        "---:|".repeat(6)
    )?;
    let none = || "-".to_owned();
    for node in &report.usage {
        let a_turn = node.cpu_us.and_then(|us| us.checked_div(report.turns.acknowledged_before_faults));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            node.node,
            node.role,
            node.cpu_us.map_or_else(none, time),
            a_turn.map_or_else(none, time),
            figure::bytes(node.memory_bytes),
            node.written_bytes.map_or_else(none, figure::bytes),
            node.received_bytes.map_or_else(none, figure::bytes),
            node.sent_bytes.map_or_else(none, figure::bytes),
        )?;
    }
    writeln!(out)
}

fn measurement(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(out, "## Measurement\n")?;
    let pacer = &report.pacer;
    writeln!(out, "- Probes left late by: {}.", quantiles(&pacer.lateness))?;
    writeln!(out, "- Around outages: {}.", quantiles(&pacer.lateness_around_outages))?;
    for note in &report.notes {
        writeln!(out, "- {note}")?;
    }
    Ok(())
}

fn next(report: &Report, out: &mut String) -> fmt::Result {
    let open: Vec<_> = report.checks.iter().filter(|check| check.result != Verdict::Pass).collect();
    if open.is_empty() && report.aborted.is_none() {
        return Ok(());
    }
    writeln!(out, "\n## Next\n")?;
    if let Some(why) = &report.aborted {
        // What the checks say of half a drill would lead astray.
        return writeln!(
            out,
            "- Remove the cause ({why}) and run the drill again; the figures above are of half a drill."
        );
    }
    for check in open {
        writeln!(out, "- {} ({}): {}", check.claim, check.result, check.claim.next_step())?;
    }
    Ok(())
}

fn quantiles(of: &QuantileFacts) -> String {
    match of.count {
        0 => "nothing measured".to_owned(),
        count => format!(
            "p50 {}, p90 {}, p99 {}, max {} ({count})",
            time(of.p50_us),
            time(of.p90_us),
            time(of.p99_us),
            time(of.max_us)
        ),
    }
}

fn bracket(outage: &OutageFacts) -> String {
    let us = Duration::from_micros;
    figure::bracket(us(outage.shortest_us), outage.longest_us.map(us))
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    match counts.is_empty() {
        true => "none".to_owned(),
        false => counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
    }
}

fn time(us: u64) -> String {
    figure::time(Duration::from_micros(us))
}

fn signed(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    format!("{sign}{}", time(us.unsigned_abs()))
}

/// Text that cannot break out of its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
