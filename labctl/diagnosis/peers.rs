//! What is wrong with a memory of two webs, by what these, their witness and their machines said last. It asks nobody.

use std::time::Duration;

use super::Finding;
use super::words::{list, span};
use crate::report::{Event, MonotonicNs, What};
use crate::topology::{NodeName, Peers, Topology};

/// How long two webs may be no pair before that is wrong: longer than a start, a lease and the handing over of a large memory.
const LONG: Duration = Duration::from_secs(5);
const WEB: &str = "web";
const WITNESS: &str = "witness";

/// What a web that runs said of its memory last.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    web: &'a NodeName,
    state: &'a str,
    because: &'a str,
    /// How long it has been that.
    for_ns: u64,
    reaches_witness: bool,
}

impl Part<'_> {
    fn lasts(&self) -> bool {
        u128::from(self.for_ns) >= LONG.as_nanos()
    }
}

/// What is wrong with the memory of two webs, if the site has one; events are in the order of their times.
pub fn findings(topology: &Topology, events: &[Event], now_ns: MonotonicNs) -> Vec<Finding> {
    let Some(peers) = &topology.conversation.peers else { return Vec::new() };
    let parts: Vec<Part> = peers.webs.iter().filter_map(|web| part(web, events, now_ns)).collect();
    let mut found = Vec::new();
    found.extend(judge_witness(peers, &parts, events));
    if let [one, other] = parts.as_slice() {
        // Two that wait for the witness are told of with that.
        let wait = !found.is_empty() && [one, other].iter().all(|part| part.state == "joining");
        found.extend(judge_pair(peers, one, other).filter(|_| !wait));
    }
    found.extend(parts.iter().filter_map(judge_part));
    found
}

/// Everything that one service of a node, or its machine, said, the last first.
fn said<'a>(node: &'a NodeName, service: &'a str, events: &'a [Event]) -> impl Iterator<Item = &'a Event> {
    let by = move |event: &&Event| {
        let here = event.node.as_deref() == Some(node.as_str());
        here && (event.source == service || matches!(event.what, What::NodeDown { .. }))
    };
    events.iter().rev().filter(by)
}

fn is_end(event: &Event) -> bool {
    matches!(event.what, What::ServiceExited { .. } | What::NodeDown { .. })
}

fn part<'a>(web: &'a NodeName, events: &'a [Event], now_ns: MonotonicNs) -> Option<Part<'a>> {
    let life = || said(web, WEB, events).take_while(|event| !is_end(event));
    let (state, because, at_ns) = life().find_map(|event| match &event.what {
        What::MemoryState { state, because } => Some((state, because, event.at_ns)),
        _ => None,
    })?;
    let answers = life().find_map(|event| match event.what {
        What::WitnessReached { answers } => Some(answers),
        _ => None,
    });
    let for_ns = now_ns.saturating_sub(at_ns);
    Some(Part { web, state, because, for_ns, reaches_witness: answers.unwrap_or(true) })
}

fn judge_witness(peers: &Peers, parts: &[Part<'_>], events: &[Event]) -> Option<Finding> {
    let Peers { witness, network, .. } = peers;
    let runs = said(witness, WITNESS, events).next().is_some_and(|event| !is_end(event));
    if !runs {
        let what = format!("the witness on {witness} does not run: nobody else can let a web go on alone");
        return Some(Finding::new("witness", what, "`labctl status`", format!("`labctl explain {witness}`")));
    }
    let lost: Vec<_> = parts.iter().filter(|part| !part.reaches_witness).map(|part| part.web).collect();
    let first = lost.first()?;
    let what = format!(
        "the witness on {witness} does not answer {}: nobody else can let a web go on alone",
        list(lost.iter())
    );
    let next = format!("mend the way to {witness} on {network}, or start its witness anew if that hangs");
    Some(Finding::new("witness", what, format!("`labctl logs {first}`"), next))
}

fn judge_pair(peers: &Peers, one: &Part<'_>, other: &Part<'_>) -> Option<Finding> {
    let parts = [one, other];
    let apart = parts.iter().any(|part| part.state != "paired") && parts.iter().all(|part| part.lasts());
    let network = &peers.network;
    apart.then(|| {
        let what = format!(
            "{} ({}) and {} ({}) both run, and are no pair: they do not hear each other on {network}",
            one.web, one.state, other.web, other.state
        );
        let next = format!("mend what is between {} and {} on {network}", one.web, other.web);
        Finding::new("peers", what, format!("`labctl logs {}`", one.web), next)
    })
}

fn judge_part(part: &Part<'_>) -> Option<Finding> {
    let Part { web, state, because, for_ns, .. } = part;
    (matches!(*state, "fenced" | "joining") && part.lasts()).then(|| {
        let what =
            format!("{web} has been {state} for {} and answers nobody, because {because}", span(*for_ns));
        Finding::new(
            state,
            what,
            "`labctl status`",
            format!("`labctl logs {web}`, and what else is found here"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::parse;

    const SITE: &str = include_str!("../../topologies/ha-peer.yaml");
    const S: u64 = 1_000_000_000;

    fn at(at_s: u64, node: &str, source: &str, what: What) -> Event {
        Event { at_ns: at_s * S, node: Some(node.to_owned()), source: source.to_owned(), what }
    }

    fn is(at_s: u64, web: &str, state: &str, because: &str) -> Event {
        at(at_s, web, WEB, What::MemoryState { state: state.to_owned(), because: because.to_owned() })
    }

    /// What is said after these and ten seconds, of a pair in good health before.
    fn told(more: Vec<Event>) -> String {
        let well = vec![
            at(0, "third", WITNESS, What::Ready),
            is(0, "web1", "paired", "all is well"),
            is(0, "web2", "paired", "all is well"),
        ];
        let events: Vec<Event> = well.into_iter().chain(more).collect();
        let topology = parse("site.yaml", SITE).unwrap_or_else(|invalid| panic!("{invalid}"));
        let found = findings(&topology, &events, 20 * S);
        found.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn a_pair_gives_no_reason_to_complain() {
        assert_eq!(told(vec![]), "");
        // One that is alone because the other is down, neither.
        let down = at(9, "web2", "holder", What::NodeDown { how: "killed".to_owned() });
        assert_eq!(told(vec![down, is(10, "web1", "alone", "the witness gave it a lease")]), "");
        // Nor what has only begun.
        assert_eq!(told(vec![is(18, "web1", "alone", "x"), is(18, "web2", "fenced", "x")]), "");
    }

    #[test]
    fn the_link_is_cut() {
        let alone = is(10, "web1", "alone", "the witness gave it a lease");
        insta::assert_snapshot!(told(vec![alone, is(10, "web2", "fenced", "the other web went on without it")]), @"
    peers: web1 (alone) and web2 (fenced) both run, and are no pair: they do not hear each other on data
      where: `labctl logs web1`
      next:  mend what is between web1 and web2 on data
    fenced: web2 has been fenced for 10.0 s and answers nobody, because the other web went on without it
      where: `labctl status`
      next:  `labctl logs web2`, and what else is found here
    ");
    }

    #[test]
    fn the_witness_does_not_answer() {
        let silent = |web| at(15, web, WEB, What::WitnessReached { answers: false });
        insta::assert_snapshot!(told(vec![silent("web1"), silent("web2")]), @"
    witness: the witness on third does not answer web1, web2: nobody else can let a web go on alone
      where: `labctl logs web1`
      next:  mend the way to third on data, or start its witness anew if that hangs
    ");
        let again = at(16, "web1", WEB, What::WitnessReached { answers: true });
        assert_eq!(told(vec![silent("web1"), again]), "");
        let exited = What::ServiceExited { how: "exit status 1".to_owned() };
        insta::assert_snapshot!(told(vec![at(15, "third", WITNESS, exited)]), @"
    witness: the witness on third does not run: nobody else can let a web go on alone
      where: `labctl status`
      next:  `labctl explain third`
    ");
    }

    #[test]
    fn a_web_joins_for_long() {
        let exited = at(9, "web2", WEB, What::ServiceExited { how: "signal SIGKILL".to_owned() });
        let joins = is(10, "web2", "joining", "the web has just started and remembers nothing");
        let silent = at(11, "web2", WEB, What::WitnessReached { answers: false });
        insta::assert_snapshot!(told(vec![exited, is(10, "web1", "joining", "x"), joins, silent]), @"
    witness: the witness on third does not answer web2: nobody else can let a web go on alone
      where: `labctl logs web2`
      next:  mend the way to third on data, or start its witness anew if that hangs
    joining: web1 has been joining for 10.0 s and answers nobody, because x
      where: `labctl status`
      next:  `labctl logs web1`, and what else is found here
    joining: web2 has been joining for 10.0 s and answers nobody, because the web has just started and remembers nothing
      where: `labctl status`
      next:  `labctl logs web2`, and what else is found here
    ");
    }
}
