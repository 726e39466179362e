//! What the program that balances, or the backend of ours, cannot do for a virtual service. It knows which words of the file that
//! concerns, and no configuration language.

use super::file::FileVirtual;
use super::methods::Method;
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::site::{Backend, BalancerEngine, Protocol, Scheduler};

impl Method<'_> {
    /// Reports what is asked of a service and cannot be done.
    pub(super) fn check_service(&self, given: &FileVirtual, problems: &mut Problems) {
        if !self.certain {
            return;
        }
        if let Some(scheduler) = given.scheduler.given() {
            let what = format!("`scheduler: {}`", scheduler.value.0.word());
            if let Some((whom, why)) = self.lacks(scheduler.value.0) {
                let help = format!("{whom} has {}", self.schedulers());
                refuse(what, whom, why, &scheduler.span, &help, problems);
            }
        }
        let ours = "remove it, or take another `engine`";
        let protocol = given.protocol.given().filter(|at| at.value.0 == Protocol::Udp);
        if let Some(protocol) = protocol.filter(|_| self.engine == BalancerEngine::Haproxy) {
            refuse("`protocol: udp`".into(), "haproxy", "it balances TCP", &protocol.span, ours, problems);
        }
        let sticky = given.sticky.given().filter(|_| self.engine == BalancerEngine::Nginx);
        if let Some(sticky) = sticky {
            let why = "free nginx has no cookie of its own";
            refuse("`sticky`".into(), "nginx", why, &sticky.span, ours, problems);
        }
        let run = given.check.value().and_then(|check| check.run.given());
        if let Some(run) = run.filter(|_| self.engine == BalancerEngine::Haproxy) {
            let why = "it asks by TCP and HTTP itself";
            refuse("a check by a program".into(), "haproxy", why, &run.span, ours, problems);
        }
    }

    /// Who cannot schedule so, and why.
    fn lacks(&self, scheduler: Scheduler) -> Option<(&'static str, &'static str)> {
        use Scheduler::{Lc, Mh, Nq, Rr, Sed, Sh, Wlc, Wrr};
        let whom = match (self.engine, self.backend) {
            (BalancerEngine::Labctl, Backend::Nft) => "`backend: nft`",
            (engine, _) => engine.word(),
        };
        let why = match (self.engine, scheduler) {
            (BalancerEngine::Labctl, _) if self.backend != Backend::Nft => return None,
            (BalancerEngine::Labctl | BalancerEngine::Nft, Lc | Wlc | Sed | Nq) => {
                "its rules count no connections"
            }
            (BalancerEngine::Haproxy, Sed | Nq | Mh) | (BalancerEngine::Nginx, Sed | Nq) => {
                "it has nothing like that"
            }
            (BalancerEngine::Ipvs, _) | (_, Rr | Wrr | Lc | Wlc | Sh | Mh) => return None,
        };
        Some((whom, why))
    }

    /// Those that it has, in words.
    fn schedulers(&self) -> String {
        let has = |it: &Scheduler| self.lacks(*it).is_none();
        Scheduler::ALL.into_iter().filter(has).map(Scheduler::word).collect::<Vec<_>>().join(", ")
    }
}

fn refuse(what: String, whom: &str, why: &'static str, span: &Span, help: &str, problems: &mut Problems) {
    let kind = ProblemKind::BalancerCannot(what, whom.to_owned(), why);
    problems.push(Problem::new(kind, span).help(help));
}
