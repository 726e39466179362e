//! Who is judged, what clients are promised, what a method makes meaningless or gives up by design, and what the scenarios
//! said of each. Pure: who plays them, and how, is the business of the room around it.

use std::str::FromStr;

use crate::conformance::checklist::{Judged, Line, Matrix, Page, Played, Scenario, Verdict, read};
use crate::topology::{BalancerEngine, Forward};

/// Theme and text of every feature file.
const FEATURES: [(&str, &str); 1] =
    [("visitors", include_str!("../../../features/balancers/visitors.feature"))];

/// What the page says of itself.
static PAGE: Page = Page {
    head: "# Balancer conformance\n\nJudged from outside: by requests of a client of the site, by what it hears, and by what passes the directors. \
           Written by `labctl conformance balancer --out`.",
    note: "
nat, tun, dr and proxy are the methods of our own engine; haproxy and nginx are HTTP proxies here, nft and ipvs do nat.
What a method gives up by design reads `differs`, what means nothing for it `n/a`; neither is a failure.
",
};

/// Who is judged: our own engine in one of its methods, or another in its usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Ours, VS/NAT.
    Nat,
    /// Ours, VS/TUN.
    Tun,
    /// Ours, VS/DR.
    Dr,
    /// Ours, layer 7.
    Proxy,
    /// HAProxy in its HTTP mode.
    Haproxy,
    /// nginx as an HTTP proxy.
    Nginx,
    /// Destination NAT with connection tracking.
    Nft,
    /// IPVS, VS/NAT.
    Ipvs,
}

use Subject::{Dr, Haproxy, Ipvs, Nat, Nft, Nginx, Proxy, Tun};

impl Subject {
    /// All of them.
    pub const ALL: [Self; 8] = [Nat, Tun, Dr, Proxy, Haproxy, Nginx, Nft, Ipvs];

    /// The program.
    pub fn engine(self) -> BalancerEngine {
        match self {
            Nat | Tun | Dr | Proxy => BalancerEngine::Labctl,
            Haproxy => BalancerEngine::Haproxy,
            Nginx => BalancerEngine::Nginx,
            Nft => BalancerEngine::Nft,
            Ipvs => BalancerEngine::Ipvs,
        }
    }

    /// Its method.
    pub fn forward(self) -> Forward {
        match self {
            Nat | Nft | Ipvs => Forward::Nat,
            Tun => Forward::Tun,
            Dr => Forward::Dr,
            Proxy | Haproxy | Nginx => Forward::Proxy,
        }
    }
}

impl Judged for Subject {
    fn word(self) -> &'static str {
        match self.engine() {
            BalancerEngine::Labctl => self.forward().word(),
            other => other.word(),
        }
    }

    fn is_ours(self) -> bool {
        self.engine() == BalancerEngine::Labctl
    }
}

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.word() == text);
        found.ok_or_else(|| format!("`{text}` is nobody who can be judged"))
    }
}

/// What a client is promised: a stable id, with which scenarios are tagged, and the promise.
pub const CLAIMS: [(&str, &str); 10] = [
    ("B01", "the client hears one address only, the public one"),
    ("B02", "all real servers get connections"),
    ("B03", "a real server that dies is taken out: soon every request is answered"),
    ("B04", "it is taken back when it returns"),
    ("B05", "scheduler sh: a client meets the same real server every time"),
    ("B06", "a real server of weight 0 gets nothing"),
    ("B07", "the holder dies: soon every new connection is answered"),
    ("B08", "the holder dies: connections that are open live on"),
    ("B09", "answers do not pass the directors"),
    ("B10", "a cookie brings a visitor back to the same real server, from any address"),
];

/// Why a promise means nothing for somebody.
pub fn not_applicable(subject: Subject, id: &str) -> Option<&'static str> {
    match (id, subject) {
        ("B10", Nat | Tun | Dr | Nft | Ipvs) => Some("it forwards packets and reads no requests"),
        ("B10", Nginx) => Some("free nginx has no cookie of its own to keep visitors by"),
        _ => None,
    }
}

/// Why somebody does not keep a promise, and could not without being something else.
pub fn by_design(subject: Subject, id: &str) -> Option<&'static str> {
    match (id, subject) {
        ("B08", Proxy | Haproxy | Nginx) => {
            Some("lost, by design: a proxy ends the client's connection itself, and its state dies with it")
        }
        ("B09", Nat | Nft | Ipvs) => Some("by design: in nat the answers need the director to be rewritten"),
        ("B09", Proxy | Haproxy | Nginx) => Some("by design: a proxy answers clients itself"),
        _ => None,
    }
}

/// Every scenario, or what is wrong with a feature file.
pub fn scenarios() -> Result<Vec<Scenario>, String> {
    read("balancers", &FEATURES, &['B'])
}

/// Makes it of what was played.
pub fn matrix(scenarios: &[Scenario], played: &[Played<Subject>], versions: &[(Subject, String)]) -> Matrix {
    let line = |&(id, what): &(&'static str, &'static str)| {
        let verdict = |subject| verdict(id, subject, scenarios, played);
        let verdicts = versions.iter().map(|&(subject, _)| (subject.word(), verdict(subject))).collect();
        Line { id, since: None, what, verdicts }
    };
    let engines = versions.iter().map(|(subject, version)| (subject.word(), version.clone())).collect();
    let tried = |claim: &&(&str, &str)| scenarios.iter().any(|one| one.ids.iter().any(|id| id == claim.0));
    Matrix { page: &PAGE, engines, requirements: CLAIMS.iter().filter(tried).map(line).collect() }
}

fn verdict(id: &str, subject: Subject, scenarios: &[Scenario], played: &[Played<Subject>]) -> Verdict {
    if let Some(why) = not_applicable(subject, id) {
        return Verdict::NotApplicable(why.to_owned());
    }
    match (Verdict::of(id, subject, scenarios, played), by_design(subject, id)) {
        (Some(Verdict::Fail(seen)), Some(why)) => {
            Verdict::Differs(std::iter::once(why.to_owned()).chain(seen).collect())
        }
        (Some(verdict), _) => verdict,
        (None, _) => Verdict::Skipped("not tried".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::conformance::checklist::Outcome;

    #[test]
    fn every_claim_has_a_scenario_and_every_scenario_a_claim() {
        let all = scenarios().expect("feature files that can be read");
        let proved: BTreeSet<&str> = all.iter().flat_map(|one| &one.ids).map(String::as_str).collect();
        assert_eq!(proved, CLAIMS.iter().map(|(id, _)| *id).collect());
        assert!(all.iter().all(|one| !one.ids.is_empty()));
    }

    #[test]
    fn words_are_read_back() {
        for subject in Subject::ALL {
            assert_eq!(subject.word().parse(), Ok(subject));
        }
        assert!("keepalived".parse::<Subject>().is_err());
    }

    #[test]
    fn only_what_a_method_could_keep_is_a_failure() {
        let all = scenarios().expect("feature files that can be read");
        let versions = Subject::ALL.map(|subject| (subject, "1".to_owned()));
        let failed = Subject::ALL.into_iter().flat_map(|engine| {
            let no = move |scenario| Played { engine, scenario, outcome: Outcome::Failed("no".to_owned()) };
            (0..all.len()).map(no)
        });
        let failed: Vec<_> = failed.collect();
        let matrix = matrix(&all, &failed, &versions);
        let failures = |subject: Subject| {
            let fails = |line: &&Line| matches!(line.verdicts[subject.word()], Verdict::Fail(_));
            matrix.requirements.iter().filter(fails).map(|line| line.id).collect::<Vec<_>>()
        };
        let seven = ["B01", "B02", "B03", "B04", "B05", "B06", "B07"];
        assert_eq!(failures(Nginx), seven);
        assert_eq!(failures(Proxy), [&seven[..], &["B10"]].concat());
        assert_eq!(failures(Nft), [&seven[..], &["B08"]].concat());
        assert_eq!(failures(Dr), [&seven[..], &["B08", "B09"]].concat());
        assert!(!matrix.holds(Dr));
    }
}
