//! `labctl drill compare`: several reports side by side. What is compared is decided in `report::Comparison`; here are the
//! arguments, the files and the table.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::super::{Failure, Outcome, output};
use super::{Format, JSON, no_report};
use crate::report::{Comparison, Report, SCHEMA, Side};

const EXAMPLES: &str = "\
Examples:
  labctl drill compare reports/20260105T100000Z-burden-database reports/20260105T100100Z-burden-peer
  labctl drill compare before/report.json after/report.json --format json | jq .rows";

/// Put several reports side by side, each figure with its ratio to the first report's
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Folders of reports, or their report.json
    #[arg(required = true, num_args = 2.., value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Outcome {
    let reports = args.reports.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let comparison = Comparison::of(&reports);
    if !reports.windows(2).all(|pair| same_load(&pair[0], &pair[1])) {
        say!("these reports are of different loads: their figures may differ for that reason alone");
    }
    match args.format {
        Format::Text => output::write(markdown(&comparison).as_bytes())?,
        Format::Json => {
            print_line!("{}", serde_json::to_string_pretty(&comparison).map_err(std::io::Error::from)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Report, Failure> {
    let file = if path.is_dir() { path.join(JSON) } else { path.to_owned() };
    let text = fs::read_to_string(&file).map_err(|error| no_report("read", &file, error))?;
    let report: Report =
        serde_json::from_str(&text).map_err(|error| no_report("understand", &file, error))?;
    match report.schema == SCHEMA {
        true => Ok(report),
        false => {
            let why = format!("`{}` is another shape than {SCHEMA}", report.schema);
            Err(no_report("understand", &file, why))
        }
    }
}

fn same_load(one: &Report, other: &Report) -> bool {
    let of = |report: &Report| {
        let drill = &report.drill;
        (drill.duration_us, drill.conversations, drill.turns_per_s, report.faults.len())
    };
    of(one) == of(other)
}

/// Two runs of one drill on one site are told apart by when they were.
fn head(side: &Side, among: &[Side]) -> String {
    let same = |other: &&Side| other.drill == side.drill && other.topology == side.topology;
    let when = (among.iter().filter(same).count() > 1).then(|| format!(", {}", side.started_at));
    format!("{} ({}{})", side.drill, side.topology, when.unwrap_or_default())
}

/// One column a report: the figure, and behind the first column the ratio to the first.
fn markdown(of: &Comparison) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let head = of.sides.iter().map(|side| head(side, &of.sides));
    table.set_header(std::iter::once("figure".to_owned()).chain(head));
    let verdicts = of.sides.iter().map(|side| side.verdict.clone());
    table.add_row(right("verdict".to_owned(), verdicts));
    for row in &of.rows {
        let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
        let figures =
            row.values.iter().zip(&row.ratios).enumerate().map(|(at, (value, ratio))| match (value, ratio) {
                (Some(value), Some(ratio)) if at > 0 => format!("{} (x{ratio:.2})", figure(*value)),
                (Some(value), _) => figure(*value),
                (None, _) => "-".to_owned(),
            });
        table.add_row(right(format!("{}{unit}", row.figure), figures));
    }
    format!("{table}\n")
}

fn right(name: String, figures: impl Iterator<Item = String>) -> Vec<Cell> {
    let figures = figures.map(|figure| Cell::new(figure).set_alignment(CellAlignment::Right));
    std::iter::once(Cell::new(name)).chain(figures).collect()
}

/// Three significant digits are more than a shared machine can repeat.
fn figure(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 || value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{UsageFacts, Verdict};

    const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/samples/proxy-crash");

    fn with_usage(web_us: Option<u64>, db_us: u64) -> Report {
        let mut report = read(Path::new(SAMPLE)).map_err(drop).expect("the sample report");
        let node = |node: &str, role: &str, cpu_us: Option<u64>| UsageFacts {
            node: node.to_owned(),
            role: role.to_owned(),
            cpu_us,
            memory_bytes: 5 << 20,
            written_bytes: cpu_us,
            received_bytes: cpu_us,
            sent_bytes: cpu_us,
        };
        report.usage = vec![
            node("db1", "db", Some(db_us)),
            node("db2", "db", Some(db_us)),
            node("web1", "web", web_us),
            node("web2", "web", Some(1_000)),
        ];
        report.turns.acknowledged_before_faults = 100;
        report
    }

    #[test]
    fn figures_stand_beside_those_of_the_first_report() {
        let mut second = with_usage(None, 1_000);
        second.latency.p99_us *= 2;
        second.drill.topology = "../hb.yaml".to_owned();
        let comparison = Comparison::of(&[with_usage(Some(3_000), 4_000), second]);
        insta::assert_snapshot!(markdown(&comparison), @r"
        | figure                                     | proxy-crash (../ha.yaml) | proxy-crash (../hb.yaml) |
        |--------------------------------------------|--------------------------|--------------------------|
        | verdict                                    |                     pass |                     pass |
        | turns acknowledged                         |                      450 |              450 (x1.00) |
        | turns never acknowledged                   |                        0 |                        0 |
        | acknowledged turns lost                    |                        0 |                        0 |
        | latency p50 before the first fault, ms     |                     29.2 |             29.2 (x1.00) |
        | latency p99 before the first fault, ms     |                      502 |              502 (x1.00) |
        | latency p99 of all, ms                     |                      498 |              995 (x2.00) |
        | longest pause, ms                          |                      431 |              431 (x1.00) |
        | longest outage of the VIP, ms              |                      335 |              335 (x1.00) |
        | longest pause after power-off at 2.0 s, ms |                      431 |              431 (x1.00) |
        | longest pause after power-on at 6.0 s, ms  |                      224 |              224 (x1.00) |
        | db: processor, all nodes, ms               |                        8 |                2 (x0.25) |
        | db: processor a turn, µs                   |                       80 |               20 (x0.25) |
        | db: written a turn, B                      |                       80 |               20 (x0.25) |
        | db: sent a turn, B                         |                       80 |               20 (x0.25) |
        | db: memory, greatest node, MiB             |                        5 |                5 (x1.00) |
        | web: processor, all nodes, ms              |                        4 |                        - |
        | web: processor a turn, µs                  |                       40 |                        - |
        | web: written a turn, B                     |                       40 |                        - |
        | web: sent a turn, B                        |                       40 |                        - |
        | web: memory, greatest node, MiB            |                        5 |                5 (x1.00) |
        ");
    }

    #[test]
    fn what_a_measurement_leaves_open_is_no_zero() {
        let whole = with_usage(None, 1_000);
        let mut ended_early = whole.clone();
        ended_early.outages.clear();
        for check in &mut ended_early.checks {
            check.result = Verdict::Unknown;
        }
        let comparison = Comparison::of(&[whole, ended_early]);
        let of = |figure| &comparison.rows.iter().find(|row| row.figure == figure).expect("the row").values;
        assert_eq!(of("acknowledged turns lost"), &[Some(0.0), None]);
        assert_eq!(of("longest outage of the VIP")[1], None);
    }

    #[test]
    fn two_runs_of_one_drill_are_told_apart() {
        let mut second = with_usage(None, 1_000);
        second.drill.started_at = "2026-01-06T10:00:00Z".to_owned();
        let sides = Comparison::of(&[with_usage(None, 1_000), second]).sides;
        assert_eq!(head(&sides[1], &sides), "proxy-crash (../ha.yaml, 2026-01-06T10:00:00Z)");
        assert_eq!(head(&sides[1], &sides[1..]), "proxy-crash (../ha.yaml)");
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).is_err());
        let other = folder.path().join("other.json");
        fs::write(&other, "{}").expect("a file");
        assert!(read(&other).is_err());
    }
}
