//! What the balancer answers to those who ask: how it is at once, a listing when the data plane has said what it counted,
//! and a change when it is in force.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::desk::{Asker, Question};
use super::request::{
    Answer, CONNECTIONS_MAX, Change, Changed, ListedConnection, ListedConnections, Listing, Request,
};
use super::roster::{Made, endpoint};
use super::tables::Survey;
use super::{Balancer, Progress, keeping};
use crate::balancer::{Endpoint, Flow, Method, Protocol};
use crate::dataplane::Stats;
use crate::kernel::clock;
use crate::topology::{self, Forward};

/// Somebody who is answered later. There are no more of them than the desk has seats.
#[derive(Debug)]
pub(super) enum Waiting {
    /// When the data plane has said what it counted.
    Listing { connections: bool, asker: Asker },
    /// When the data plane has said what it counted: how many connections there are belongs to the answer.
    Change { change: Change, asker: Asker },
    /// When this wish is fulfilled.
    InForce { wish: u64, changed: Changed, asker: Asker },
}

impl Balancer {
    /// Takes a question, and answers it if nothing has to be waited for.
    pub(super) fn hear(&mut self, Question { request, asker }: Question) {
        match request {
            None => asker.tell(&self.account()),
            Some(Request::Listing { connections }) => {
                self.waiting.push(Waiting::Listing { connections, asker });
                self.tables.survey();
            }
            Some(Request::Change(_)) if self.progress == Progress::FirstRound => {
                let because = "it has just begun, and some real server has not had its first check yet";
                asker.tell(&Answer::Failed(because.to_owned()));
            }
            Some(Request::Change(change)) => {
                self.waiting.push(Waiting::Change { change, asker });
                self.tables.survey();
            }
        }
    }

    /// Does and tells what waited for a survey.
    pub(super) fn answer_all(&mut self, survey: &Survey) {
        let mut made = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Listing { connections, asker } => {
                    asker.tell(&Answer::Listing(Box::new(self.listing(survey, connections))));
                }
                Waiting::Change { change, asker } => match self.roster.change(&change, Instant::now()) {
                    Ok(Made { pair, name, was, now }) => {
                        tracing::info!(
                            "{}: {name} has weight {now:?} instead of {was:?}, by request",
                            change.service
                        );
                        let count = survey.usage.get(&pair).map_or(0, |usage| usage.active);
                        let connections = (self.active == Some(true)).then_some(count);
                        made.push((Changed { real: name, was, now, connections }, asker));
                    }
                    Err(refused) => asker.tell(&Answer::Refused(refused.to_string())),
                },
                in_force @ Waiting::InForce { .. } => self.waiting.push(in_force),
            }
        }
        if made.is_empty() {
            return;
        }
        if let Err(error) = keeping::keep(&self.roster) {
            tracing::warn!(
                "changes will be forgotten with this daemon, because they cannot be kept: {error}"
            );
        }
        let wish = self.install();
        let waiting = made.into_iter().map(|(changed, asker)| Waiting::InForce { wish, changed, asker });
        self.waiting.extend(waiting);
    }

    /// Tells those whose changes are in force now.
    pub(super) fn in_force(&mut self, fulfilled: u64) {
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::InForce { wish, changed, asker } if wish <= fulfilled => {
                    asker.tell(&Answer::Changed(changed));
                }
                other => self.waiting.push(other),
            }
        }
    }

    /// Tells everybody that it did not work. What was changed stays wished for.
    pub(super) fn not_in_force(&mut self, because: &str) {
        for waiting in std::mem::take(&mut self.waiting) {
            let (Waiting::Listing { asker, .. }
            | Waiting::Change { asker, .. }
            | Waiting::InForce { asker, .. }) = waiting;
            asker.tell(&Answer::Failed(because.to_owned()));
        }
    }

    fn listing(&self, survey: &Survey, connections: bool) -> Listing {
        let remembered = remembered(&survey.flows);
        let mut services = self.roster.listed();
        for service in &mut services {
            let address = endpoint(service.address, service.protocol);
            for real in &mut service.reals {
                let pair = (address, endpoint(real.address, service.protocol));
                let usage = survey.usage.get(&pair).copied().unwrap_or_default();
                real.count(usage, remembered.get(&pair).copied().unwrap_or_default());
            }
        }
        Listing {
            at_ns: clock::monotonic_ns(),
            active: self.active == Some(true),
            backend: self.backend.clone(),
            because: self.because.clone(),
            forward: match self.layout.method {
                Method::Nat => Forward::Nat,
                Method::Tun => Forward::Tun,
                Method::Dr => Forward::Dr,
            },
            services,
            counters: counters(&survey.stats),
            sync: self.exchange.as_ref().map(|it| it.listed(Instant::now())).unwrap_or_default(),
            connections: connections.then(|| listed_connections(&survey.flows)),
        }
    }
}

/// How many connections of each real server of each service the flow table has.
fn remembered(flows: &[Flow]) -> BTreeMap<(Endpoint, Endpoint), u64> {
    let mut counts = BTreeMap::new();
    for flow in flows {
        *counts.entry((flow.service, flow.real)).or_default() += 1;
    }
    counts
}

fn listed_connections(flows: &[Flow]) -> ListedConnections {
    let listed = |flow: &Flow| ListedConnection {
        protocol: match flow.service.protocol {
            Protocol::Tcp => topology::Protocol::Tcp,
            Protocol::Udp => topology::Protocol::Udp,
        },
        client: flow.client,
        service: SocketAddr::from(flow.service),
        real: SocketAddr::from(flow.real),
    };
    ListedConnections { total: flows.len(), shown: flows.iter().take(CONNECTIONS_MAX).map(listed).collect() }
}

/// Each counter by its name.
fn counters(stats: &Stats) -> BTreeMap<String, u64> {
    let &Stats {
        to_real,
        to_client,
        answered,
        opened,
        kept,
        missed,
        errors,
        no_real,
        no_tunnel,
        ttl_ended,
        fragments,
        too_long,
    } = stats;
    let all = [
        ("to_real", to_real),
        ("to_client", to_client),
        ("answered", answered),
        ("opened", opened),
        ("kept", kept),
        ("missed", missed),
        ("errors", errors),
        ("no_real", no_real),
        ("no_tunnel", no_tunnel),
        ("ttl_ended", ttl_ended),
        ("fragments", fragments),
        ("too_long", too_long),
    ];
    all.map(|(name, count)| (name.to_owned(), count)).into()
}
