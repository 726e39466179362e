//! Outcomes as Markdown: medians over the rounds, each held against plain routing of the same round. It measures nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::Args;
use super::contender::Contender;
use super::load::{Kind, Outcome};

/// All that was measured.
pub struct Page {
    machine: String,
    notes: Vec<String>,
    skipped: BTreeMap<Contender, String>,
    /// By round.
    outcomes: BTreeMap<(Contender, Kind), BTreeMap<u32, Result<Outcome, String>>>,
}

impl Page {
    pub fn begin(args: &Args) -> Self {
        let notes = vec![
            format!(
                "medians of {} rounds; each load lasts {:?}, and everything is measured in turns",
                args.rounds, args.each
            ),
            "ratio: the median over the rounds of the figure by that of plain routing in the same round; for tun and dr, whose \
             answers go straight to the client, by that of plain routing whose answers do so too"
                .to_owned(),
            "CPU: processor time of the whole machine, client and servers included, for one GB, request or connection; a \
             ratio above 1 is dearer"
                .to_owned(),
            "added p50, p99: what an exchange of the keep-alive load took, less what it took by plain routing".to_owned(),
        ];
        Self { machine: machine(), notes, skipped: BTreeMap::new(), outcomes: BTreeMap::new() }
    }

    /// A contender that could not be measured, and why.
    pub fn skip(&mut self, contender: Contender, because: String) {
        eprintln!("skipped: {}: {because}", contender.word());
        self.skipped.insert(contender, because);
    }

    pub fn add(&mut self, contender: Contender, kind: Kind, round: u32, outcome: Result<Outcome, String>) {
        match &outcome {
            Ok(outcome) => eprintln!(
                "  {:.3} {} a second, {:.1} us of processor time each",
                outcome.rate,
                kind.unit(),
                outcome.cpu_s * 1e6
            ),
            Err(because) => eprintln!("  failed: {because}"),
        }
        self.outcomes.entry((contender, kind)).or_default().insert(round, outcome);
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("## labctl bench: balancer\n\n{}, after {}\n", self.machine, load());
        for kind in Kind::ALL {
            let _ = write!(text, "\n### {}\n\n{}\n", kind.word(), self.table(kind));
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        for (contender, because) in &self.skipped {
            let _ = writeln!(
                text,
                "- skipped: {}: {}",
                contender.word(),
                because.lines().next().unwrap_or_default()
            );
        }
        text
    }

    fn table(&self, kind: Kind) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let (rate, cpu) = (format!("{}/s", kind.unit()), format!("CPU us/{}", kind.unit()));
        let mut header = vec!["".to_owned(), rate, "ratio".into(), cpu, "CPU ratio".into()];
        if kind == Kind::Requests {
            header.extend(["added p50 us".into(), "added p99 us".into()]);
        }
        header.push("n".into());
        table.set_header(&header);
        for contender in Contender::ALL.into_iter().filter(|it| self.outcomes.contains_key(&(*it, kind))) {
            let cells = self.row(contender, kind);
            let cells = cells.into_iter().map(|cell| Cell::new(cell).set_alignment(CellAlignment::Right));
            table.add_row(std::iter::once(Cell::new(contender.word())).chain(cells));
        }
        table
    }

    fn row(&self, contender: Contender, kind: Kind) -> Vec<String> {
        let rounds = &self.outcomes[&(contender, kind)];
        let good = || rounds.iter().filter_map(|(round, outcome)| Some((round, outcome.as_ref().ok()?)));
        let of =
            |figure: &dyn Fn(&Outcome) -> f64| median(good().map(|(_, outcome)| figure(outcome)).collect());
        let against = |figure: &dyn Fn(&Outcome, &Outcome) -> f64| {
            let ceiling = self.outcomes.get(&(contender.ceiling(), kind));
            let pairs = good().filter_map(|(round, own)| Some((own, ceiling?.get(round)?.as_ref().ok()?)));
            median(pairs.map(|(own, plain)| figure(own, plain)).collect())
        };
        let mut cells = vec![
            of(&|it| it.rate),
            against(&|own, plain| own.rate / plain.rate),
            of(&|it| it.cpu_s * 1e6),
            against(&|own, plain| own.cpu_s / plain.cpu_s),
        ];
        if kind == Kind::Requests {
            for quantile in [0.5, 0.99] {
                let us = move |it: &Outcome| it.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
                cells.push(against(&move |own, plain| us(own) - us(plain)));
            }
        }
        let mut cells: Vec<String> = cells.into_iter().map(figure).collect();
        let failed: Vec<&String> = rounds.values().filter_map(|outcome| outcome.as_ref().err()).collect();
        cells.push(match failed.first() {
            None => rounds.len().to_string(),
            Some(because) => format!("{}, {} failed: {because}", rounds.len() - failed.len(), failed.len()),
        });
        cells
    }
}

/// The one in the middle, or between the two there.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 2] + values[last.div_ceil(2)]) / 2.0)
}

/// Three significant digits are more than a shared machine can repeat.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// When and where this is measured.
pub fn machine() -> String {
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let kernel = kernel.split('-').next().unwrap_or_default();
    format!("{started_at}, Linux {kernel}, {processors} processors; load average before {}", load())
}

fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
