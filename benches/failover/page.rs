//! Every run as JSON, and the runs of a kind as one line of a Markdown table. It measures nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::fault::Fault;
use super::figures::Figures;
use super::run::Record;
use super::site::Site;
use super::{Args, Error};

/// All that was measured.
#[derive(Serialize)]
pub struct Page {
    machine: Vec<String>,
    started_at: String,
    notes: Vec<String>,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    /// Place of the fault in the order in which faults are tried, and whether this is its end.
    #[serde(skip)]
    place: (usize, bool),
    what: String,
    advert_ms: f64,
    formula_ms: f64,
    engine: &'static str,
    run: u32,
    attempt: u32,
    /// Why it could not be done.
    failed: Option<String>,
    figures: Option<Figures>,
}

impl Page {
    pub fn begin(args: &Args) -> Self {
        let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut page = Self { machine: Vec::new(), started_at, notes: Vec::new(), runs: Vec::new() };
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        page.machine.push(format!("Linux {}, {processors} processors", read("/proc/sys/kernel/osrelease")));
        page.machine.push(format!("load average before {}", load()));
        page.notes = [
            "outage: what probes of the VIP every 1 ms bound it by, from the last answered one to the first answered one, \
             all outages after the fault together; lost: probes, so milliseconds"
                .to_owned(),
            "due: the longest that RFC 9568 gives an election, three intervals and the skew of the backup (section 6.1); \
             ratio: median outage by that"
                .to_owned(),
            "two answer: ms in which two hardware addresses answered the same ARP question, one question every 1 ms; two \
             have: ms in which both kernels had the VIP on an interface, answering or not"
                .to_owned(),
            "stale: probes lost although somebody answered for the VIP, because the router's entry pointed at another"
                .to_owned(),
            format!(
                "idle: {:?} with nothing broken and two ordinary busy threads, once per interval and engine; its takeovers \
                 are false ones. hang: two seconds, or twice what is due if that is longer",
                args.idle
            ),
            "n: runs that count, and of the others why not: the pacer was later than 2 ms and than a tenth of the outage \
             (unknown; tried again twice), or the run could not be done (failed)"
                .to_owned(),
        ]
        .to_vec();
        page
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub fn add(&mut self, site: &Site, run: u32, attempt: u32, record: Record) {
        let of = Fault::ALL.iter().position(|fault| record.what.split(':').next() == Some(fault.word()));
        let place = (of.unwrap_or_default(), record.mended);
        self.runs.push(Run {
            attempt,
            figures: Some(record.figures),
            ..Run::of(site, place, record.what, run)
        });
    }

    pub fn fail(&mut self, site: &Site, fault: Fault, run: u32, error: &Error) {
        let place = Fault::ALL.iter().position(|it| *it == fault).unwrap_or_default();
        let failed = Some(labctl::holder::lab::chain(error));
        self.runs.push(Run { failed, ..Run::of(site, (place, false), fault.word(), run) });
    }

    /// Both files, each written whole.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("failover.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(folder.join("failover.md"), self.markdown())
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "## labctl bench: failover\n\n{}, {}; {}, after {}\n",
            self.started_at,
            self.machine[0],
            self.machine[1],
            load()
        );
        let _ = write!(text, "\n{}\n\n", self.table());
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text.push('\n');
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "fault",
            "advert",
            "engine",
            "outage ms, median",
            "max",
            "lost, median",
            "max",
            "due ms",
            "ratio",
            "two answer ms, max",
            "two have ms, max",
            "announced, median",
            "max",
            "takeovers, max",
            "stale, max",
            "n",
        ]);
        // The place, the interval in hundredths of a millisecond, and who.
        let mut kinds: BTreeMap<((usize, bool), u64), Vec<&'static str>> = BTreeMap::new();
        for run in &self.runs {
            let engines = kinds.entry((run.place, (run.advert_ms * 100.0) as u64)).or_default();
            if !engines.contains(&run.engine) {
                engines.push(run.engine);
            }
        }
        for ((place, advert), engines) in kinds {
            for engine in engines {
                let of_kind = |run: &&Run| {
                    run.place == place && (run.advert_ms * 100.0) as u64 == advert && run.engine == engine
                };
                let runs: Vec<&Run> = self.runs.iter().filter(of_kind).collect();
                table.add_row(row(&runs).into_iter().enumerate().map(|(at, text)| {
                    let cell = Cell::new(text);
                    if at < 3 { cell } else { cell.set_alignment(CellAlignment::Right) }
                }));
            }
        }
        table
    }
}

impl Run {
    fn of(site: &Site, place: (usize, bool), what: &str, run: u32) -> Self {
        Self {
            place,
            what: what.to_owned(),
            advert_ms: site.advert.as_secs_f64() * 1e3,
            formula_ms: site.formula().as_secs_f64() * 1e3,
            engine: site.engine(),
            run,
            attempt: 1,
            failed: None,
            figures: None,
        }
    }
}

fn row(runs: &[&Run]) -> Vec<String> {
    let Some(first) = runs.first() else { return Vec::new() };
    let known: Vec<&Figures> =
        runs.iter().filter_map(|run| run.figures.as_ref()).filter(|it| it.unknown.is_none()).collect();
    let all = |figure: &dyn Fn(&Figures) -> f64| {
        let mut values: Vec<f64> = known.iter().map(|it| figure(it)).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    // One that was not over counts as longer than any other.
    let away = all(&|it| it.away_at_most_ms.unwrap_or(f64::INFINITY));
    let lost = all(&|it| it.lost as f64);
    let announced = all(&|it| it.announcements as f64);
    let max = |figure: &dyn Fn(&Figures) -> f64| value(all(figure).last().copied());
    let (mended, median_away) = (first.place.1, median(&away));
    let due = (!mended).then_some(first.formula_ms);
    let ratio = median_away.zip(due).map(|(away, due)| format!("{:.2}", away / due));
    let unknown =
        runs.iter().filter(|run| run.figures.as_ref().is_some_and(|it| it.unknown.is_some())).count();
    let failed = runs.iter().filter(|run| run.failed.is_some()).count();
    let mut n = known.len().to_string();
    for (count, what) in [(unknown, "unknown"), (failed, "failed")] {
        if count > 0 {
            let _ = write!(n, ", {count} {what}");
        }
    }
    vec![
        first.what.clone(),
        format!("{} ms", first.advert_ms),
        first.engine.to_owned(),
        value(median_away),
        value(away.last().copied()),
        value(median(&lost)),
        value(lost.last().copied()),
        value(due),
        ratio.unwrap_or("-".to_owned()),
        max(&|it| it.two_answer_ms),
        max(&|it| it.two_have_ms),
        value(median(&announced)),
        value(announced.last().copied()),
        max(&|it| it.takeovers as f64),
        max(&|it| it.stale as f64),
        n,
    ]
}

fn median(sorted: &[f64]) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let (below, above) = (sorted[last / 2], sorted[last.div_ceil(2)]);
    Some(if below == above { below } else { f64::midpoint(below, above) })
}

fn value(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.is_infinite() => "not over".to_owned(),
        Some(value) if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}
