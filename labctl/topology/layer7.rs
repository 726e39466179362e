//! What a layer-7 director looks at in a request: the cookie that keeps a visitor with one real server, and rules that say to
//! whom a request belongs.

use super::file::{FileRule, FileVirtual};
use super::methods::Method;
use super::names::{NodeName, ServiceName};
use super::nodes::Machines;
use super::problem::{Problem, ProblemKind, Problems};
use super::read::{At, Map, Slot};
use super::scalars::Token;
use super::site::{Forward, Layer7, Role, Rule};

/// What the file says of one service.
pub(super) fn layer7(
    method: &Method<'_>,
    machines: &Machines<'_>,
    name: &At<ServiceName>,
    given: &FileVirtual,
    problems: &mut Problems,
) -> Layer7 {
    if method.forward != Forward::Proxy {
        let spans = [
            ("`sticky`", given.sticky.given().map(|at| &at.span)),
            ("`rules`", given.rules.given().map(|at| &at.span)),
        ];
        for (what, span) in spans.into_iter().filter_map(|(what, span)| Some((what, span?))) {
            let why = "it looks at packets, and these are a matter of requests";
            method.refuse(what, why, span, "remove it, or take `forward: proxy`", problems);
        }
        return Layer7::default();
    }
    let behind = Behind { machines, service: name, given };
    let rules = given.rules.value().into_iter().flatten();
    Layer7 {
        sticky: given.sticky.value().map(|cookie| cookie.0.clone()),
        rules: rules.map(|given| behind.rule(given, problems)).collect(),
    }
}

/// Who is behind a service.
struct Behind<'a, 'f> {
    machines: &'a Machines<'f>,
    service: &'a At<ServiceName>,
    given: &'a FileVirtual,
}

impl Behind<'_, '_> {
    fn rule(&self, At { value: given, span }: &At<FileRule>, problems: &mut Problems) -> Rule {
        let asks = !given.host.is_absent()
            || !given.path.is_absent()
            || !given.header.is_absent()
            || !given.cookie.is_absent();
        if !asks {
            let problem = Problem::new(ProblemKind::RuleWithoutCondition, span);
            problems.push(problem.help("say what it looks at; `path: /` is every request"));
        }
        let header = one(&given.header, "one header and its value", problems);
        let cookie = one(&given.cookie, "one cookie and its value", problems);
        Rule {
            host: given.host.value().map(|host| host.0.clone()),
            path: given.path.value().map(|path| path.0.clone()),
            // Whatever case it is written in, it is the same header.
            header: header.map(|(name, value)| (name.to_ascii_lowercase(), value.0.clone())),
            cookie: cookie.map(|(name, value)| (name.to_owned(), value.0.clone())),
            reals: self.reals(given, problems),
        }
    }

    fn reals(&self, given: &FileRule, problems: &mut Problems) -> Vec<NodeName> {
        let Some(named) = given.real.given() else { return Vec::new() };
        if named.value.is_empty() {
            let kind = ProblemKind::WrongType("the nodes that may answer", "an empty list".to_owned());
            problems.push(Problem::new(kind, &named.span).help("name one of those behind the service"));
        }
        let mut reals = Vec::with_capacity(named.value.len());
        for node in &named.value {
            if self.machines.find(node, problems).is_some() && !self.has(&node.value) {
                let kind = ProblemKind::RuleOffService(node.value.clone(), self.service.value.clone());
                let problem = Problem::new(kind, &node.span).help("add it to `real`, or leave it out here");
                problems.push(problem.also(&self.service.span, "the virtual service"));
            }
            reals.push(node.value.clone());
        }
        reals.sort();
        reals.dedup();
        reals
    }

    fn has(&self, node: &NodeName) -> bool {
        match &self.given.real {
            Slot::Given(real) => {
                real.value.incomplete || real.value.entries.iter().any(|(name, _)| &name.value == node)
            }
            Slot::Absent => self.machines.of(Role::Web).any(|web| &web.name.value == node),
            Slot::Broken => true,
        }
    }
}

/// The one entry of a mapping.
fn one<'a, V>(
    slot: &'a Slot<Map<Token, V>>,
    expected: &'static str,
    problems: &mut Problems,
) -> Option<(&'a str, &'a V)> {
    let At { value: map, span } = slot.given()?;
    if map.entries.len() != 1 && !map.incomplete {
        let kind = ProblemKind::WrongType(expected, format!("{} of them", map.entries.len()));
        problems.push(
            Problem::new(kind, span)
                .help("a request must meet all that a rule says; write `{ NAME: VALUE }`"),
        );
        return None;
    }
    let (name, value) = map.entries.first()?;
    Some((&name.value.0, value.value()?))
}
