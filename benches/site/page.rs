//! Measurements as Markdown: series of values, their medians and extremes, in tables. It measures nothing.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table as Grid, presets};

/// What is published of one measurement.
pub struct Page {
    title: String,
    machine: Vec<String>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

/// Rows of the same kind.
pub struct Table {
    title: &'static str,
    labels: Vec<&'static str>,
    rows: Vec<Row>,
}

struct Row {
    labels: Vec<String>,
    values: Result<Vec<f64>, &'static str>,
}

impl Page {
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), machine: Vec::new(), tables: Vec::new(), notes: Vec::new() }
    }

    /// What the machine is like at this moment; figures of a busy one are worth less.
    pub fn machine(&mut self, when: &str) {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        if self.machine.is_empty() {
            let processors = std::thread::available_parallelism().map_or(0, usize::from);
            self.machine
                .push(format!("Linux {}, {processors} processors", read("/proc/sys/kernel/osrelease")));
        }
        let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        self.machine.push(format!("load average {when} {load}"));
    }

    /// A new table, whose rows begin with these labels.
    pub fn table(&mut self, title: &'static str, labels: &[&'static str]) -> &mut Table {
        self.tables.push(Table { title, labels: labels.to_vec(), rows: Vec::new() });
        self.tables.last_mut().expect("one was just added")
    }

    /// A line below the tables.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n", self.title, self.machine.join("; "));
        for table in &self.tables {
            let _ = write!(text, "\n{}\n\n{}\n", table.title, table.grid());
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text.push('\n');
        text
    }
}

impl Table {
    /// One more value of the row with these labels.
    pub fn add(&mut self, labels: &[&str], value: f64) {
        let row = match self.rows.iter().position(|row| row.labels == labels) {
            Some(at) => &mut self.rows[at],
            None => {
                let labels = labels.iter().map(|&label| label.to_owned()).collect();
                self.rows.push(Row { labels, values: Ok(Vec::new()) });
                self.rows.last_mut().expect("one was just added")
            }
        };
        if let Ok(values) = &mut row.values {
            values.push(value);
        }
    }

    /// A row of which there will be no values, and why.
    pub fn skip(&mut self, labels: &[&str], because: &'static str) {
        if !self.rows.iter().any(|row| row.labels == labels) {
            let labels = labels.iter().map(|&label| label.to_owned()).collect();
            self.rows.push(Row { labels, values: Err(because) });
        }
    }

    /// All values of the row with these labels together.
    pub fn sum(&self, labels: &[&str]) -> f64 {
        let row = self.rows.iter().find(|row| row.labels == labels);
        row.and_then(|row| row.values.as_ref().ok()).map_or(0.0, |values| values.iter().sum())
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(presets::ASCII_MARKDOWN);
        let figures = ["median", "min", "max", "n"];
        grid.set_header(self.labels.iter().chain(&figures));
        for row in &self.rows {
            let figures = match &row.values {
                Ok(values) => summary(values),
                Err(because) => [format!("skipped: {because}"), "-".into(), "-".into(), "0".into()],
            };
            let figures = figures.iter().map(|figure| Cell::new(figure).set_alignment(CellAlignment::Right));
            grid.add_row(row.labels.iter().map(Cell::new).chain(figures));
        }
        grid
    }
}

/// Median, least, greatest, and how many.
fn summary(values: &[f64]) -> [String; 4] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
        return ["-".into(), "-".into(), "-".into(), "0".into()];
    };
    [figure(quantile(&sorted, 0.5)), figure(*min), figure(*max), sorted.len().to_string()]
}

/// The value below which this part of the sorted values lies, between two values where none is there.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Three significant digits are more than a shared machine can repeat.
fn figure(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
