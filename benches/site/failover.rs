//! How long the VIP is away when the whole active proxy dies, by probes every millisecond, beside what RFC 9568 section
//! 6.1 promises: at most three intervals and the skew of the backup.

use std::num::NonZeroU8;
use std::time::Duration;

use labctl::vrrp::{Interval, SkewRule};

use super::drill::{self, Drilled, Verdicts};
use super::page::{Page, Table};
use super::shell::{Error, Shell};

/// The advertisement interval in the site's file, which is replaced.
const ADVERT_ON_FILE: &str = "advert: 100ms";
/// The intervals that are measured.
const ADVERTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];
/// The two deaths, in the words of a drill file and of the command line.
const DEATHS: [(&str, &str); 2] =
    [("kill-node", "labctl kill proxy1"), ("power-off", "labctl power off proxy1")];
/// Priority of the proxy that takes over.
const PRIORITY_OF_BACKUP: NonZeroU8 = NonZeroU8::new(100).expect("it is not zero");
/// Traffic before the first fault can come, and after the longest takeover.
const MARGIN: Duration = Duration::from_millis(600);

pub fn measure(shell: &Shell, runs: u32, page: &mut Page) -> Result<(), Error> {
    let site = std::fs::read_to_string(super::site())?;
    if !site.contains(ADVERT_ON_FILE) {
        return Err(Error::Unfit(format!("the site's file does not say `{ADVERT_ON_FILE}` any more")));
    }
    page.note(
        "outage: from the last answered probe before it to the first answered one after it, probes every 1 ms; faults \
         are spread evenly over one interval, and a takeover is due 3 x interval + skew after the last advert, so \
         between 2 and 3 x interval + skew after the fault; skew = (256 - 100)/256 x interval"
            .to_owned(),
    );
    page.note("each run is a lab of its own, under 100 turns per second of 8 conversations; their pause is longer than the \
         outage because it ends with a client's next attempt: answers are waited for 1 s, and a lost SYN goes again \
         after 1 s"
            .to_owned());
    let mut verdicts = Verdicts::default();
    let result = {
        let labels = ["fault", "advert", "formula", "figure, ms"];
        let table = page.table("The active proxy dies", &labels);
        rounds(shell, runs, &site, table, &mut verdicts)
    };
    page.note(verdicts.line());
    result
}

fn rounds(
    shell: &Shell,
    runs: u32,
    site: &str,
    table: &mut Table,
    verdicts: &mut Verdicts,
) -> Result<(), Error> {
    for run in 0..runs {
        for advert in ADVERTS {
            for (death, command) in DEATHS {
                eprintln!("failover: run {} of {runs}, {command}, adverts every {advert:?}", run + 1);
                let interval = Interval::try_from(advert).map_err(|error| Error::Unfit(error.to_string()))?;
                let site = site.replace(ADVERT_ON_FILE, &format!("advert: {}ms", advert.as_millis()));
                // In the middle of the run's own part of the interval.
                let phase = advert * (2 * run + 1) / (2 * runs);
                let down = interval.active_down(PRIORITY_OF_BACKUP, SkewRule::OfInterval);
                let drilled = drill::run_text(shell, &text(death, MARGIN + phase, down), &site)?;
                let formula = format!("{:.0} ms", down.as_secs_f64() * 1e3);
                let label = |figure| {
                    [command.to_owned(), format!("{advert:?}"), formula.clone(), String::from(figure)]
                };
                for (figure, value) in figures(&drilled)? {
                    table.add(&label(figure).each_ref().map(String::as_str), value);
                }
                verdicts.count(&drilled);
            }
        }
    }
    Ok(())
}

fn figures(drilled: &Drilled) -> Result<Vec<(&'static str, f64)>, Error> {
    let fault = drilled.report.faults.first();
    let outage = fault.and_then(|fault| fault.outage.as_ref()?.longest_us);
    let outage = outage.ok_or_else(|| Error::Unfit("the drill saw no outage with an end".to_owned()))?;
    let mut figures = vec![("outage of the VIP", outage as f64 / 1e3)];
    figures.extend(drilled.phase_ms("elected").map(|at| ("elected after the fault", at)));
    let pause = drilled.report.pause.as_ref().map(|pause| pause.length_us as f64 / 1e3);
    figures.extend(pause.map(|pause| ("pause between acknowledged turns", pause)));
    figures.push(("acknowledged turns lost (count)", drilled.lost()?));
    Ok(figures)
}

fn text(death: &str, at: Duration, down: Duration) -> String {
    let (at_us, duration_ms) = (at.as_micros(), (at + down + 2 * MARGIN).as_millis());
    format!(
        "name: bench-failover\n\
         topology: site.yaml\n\
         duration: {duration_ms}ms\n\
         load: {{ conversations: 8, turns_per_s: 100, timeout: 1s, probe_interval: 1ms }}\n\
         faults:\n\
         \x20 - {{ at: {at_us}us, do: {death}, target: holder }}\n\
         expect: {{ outage_max: 10s, holder_changes_min: 1 }}\n"
    )
}
