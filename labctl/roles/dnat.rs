//! Destination NAT with connection tracking in the place of our own data plane: what everybody can write with `nft`, given the
//! same health checks. Connections live in the kernel's table, so nobody else can go on with them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use nftables::batch::Batch;
use nftables::expr::{
    Expression, JHash, Meta, MetaKey, NamedExpression, NgMode, Numgen, Payload, PayloadField, SetItem,
    Verdict,
};
use nftables::helper::{NftablesError, apply_ruleset, get_current_ruleset_with_args};
use nftables::schema::{Chain, NfListObject, NfObject, Rule, Table};
use nftables::stmt::{
    AnonymousCounter, Counter, JumpTarget, Match, NAT, NATFamily, Operator, Statement, VerdictMap,
};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use crate::balancer::{
    Conflict, Endpoint, Flow, Method, Protocol, Real, Scheduler, Service, Usage, check_together,
};
use crate::dataplane::{self, Backend, Plane, Stats};

const TABLE: &str = "labctl_dnat";
const ENTRANCE: &str = "services";
/// `dstnat`, where destination NAT belongs in the order of hooks.
const PRIORITY: i32 = -100;
/// Most slots of a service; weights that would need more are refused.
const SLOTS_MAX: u32 = 1024;

/// Why connections are not given to real servers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot do what is wanted.
    #[error("nft cannot {0}")]
    Cannot(String),
    /// The services exclude each other.
    #[error("install the services")]
    Conflict(#[from] Conflict),
    /// The program or the kernel refused.
    #[error("{act} the rules of destination NAT")]
    Nft {
        /// What was tried.
        act: &'static str,
        /// What `nft` said.
        #[source]
        source: Box<NftablesError>,
    },
}

/// The rules of this network namespace. They are removed when this is dropped.
#[derive(Debug, Default)]
pub struct Dnat {
    services: Vec<Service>,
    /// What was counted by rules that are no longer there.
    before: BTreeMap<(Endpoint, Endpoint), u64>,
}

impl Dnat {
    /// Balances these services from now on, and no others: one transaction. Connections that there are keep their real servers,
    /// because the kernel asks no rule about them any more.
    pub fn install(&mut self, services: &[Service]) -> Result<(), Error> {
        check_together(services)?;
        let batch = ruleset(services)?;
        self.before = self.connections()?;
        let failed = |source| Error::Nft { act: "change", source: Box::new(source) };
        apply_ruleset(&batch.to_nftables()).map_err(failed)?;
        self.services = services.to_vec();
        Ok(())
    }

    /// Connections given to each real server (second) of each service (first).
    pub fn usage(&self) -> Result<BTreeMap<(Endpoint, Endpoint), Usage>, Error> {
        let usage = |connections| Usage { connections, ..Usage::default() };
        Ok(self.connections()?.into_iter().map(|(pair, connections)| (pair, usage(connections))).collect())
    }

    fn connections(&self) -> Result<BTreeMap<(Endpoint, Endpoint), u64>, Error> {
        let mut counts = self.before.clone();
        if self.services.is_empty() {
            return Ok(counts);
        }
        let failed = |source| Error::Nft { act: "list", source: Box::new(source) };
        let listed =
            get_current_ruleset_with_args(None::<&str>, ["list", "table", "inet", TABLE]).map_err(failed)?;
        for object in listed.objects.iter() {
            let NfObject::ListObject(NfListObject::Rule(rule)) = object else { continue };
            let Some(packets) = rule.expr.iter().find_map(counted) else { continue };
            let mut pairs = self.services.iter().enumerate().flat_map(|(at, service)| {
                let reals = service.reals.iter().enumerate();
                reals.map(move |(real, it)| (name(at, real), (service.address, it.endpoint)))
            });
            if let Some((_, pair)) = pairs.find(|(name, _)| **name == rule.chain) {
                *counts.entry(pair).or_default() += packets;
            }
        }
        Ok(counts)
    }
}

/// Its flows are the kernel's, which tells nobody of them.
impl Plane for Dnat {
    fn install(&mut self, services: &[Service]) -> Result<(), dataplane::Error> {
        Self::install(self, services).map_err(failed)
    }

    fn stats(&self) -> Result<Stats, dataplane::Error> {
        let opened = self.connections().map_err(failed)?.values().sum();
        Ok(Stats { opened, ..Stats::default() })
    }

    fn usage(&self) -> Result<BTreeMap<(Endpoint, Endpoint), Usage>, dataplane::Error> {
        Self::usage(self).map_err(failed)
    }

    fn flows(&self) -> Result<Vec<Flow>, dataplane::Error> {
        Ok(Vec::new())
    }

    fn adopt(&mut self, _: &[Flow]) -> Result<usize, dataplane::Error> {
        Ok(0)
    }

    fn fresh(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn fresh_flows(&mut self) -> Result<Vec<Flow>, dataplane::Error> {
        Ok(Vec::new())
    }

    fn recount(&mut self) -> Result<u64, dataplane::Error> {
        Ok(0)
    }

    fn backend(&self) -> Backend {
        Backend::Conntrack
    }
}

fn failed(error: Error) -> dataplane::Error {
    dataplane::Error::Director { backend: Backend::Conntrack, source: error.into() }
}

impl Drop for Dnat {
    fn drop(&mut self) {
        let mut batch = Batch::new();
        batch.delete(table());
        if let Err(error) = apply_ruleset(&batch.to_nftables()) {
            tracing::warn!("the rules of destination NAT stay: {error}");
        }
    }
}

fn counted(statement: &Statement) -> Option<u64> {
    match statement {
        Statement::Counter(Counter::Anonymous(Some(counter))) => Some(counter.packets? as u64),
        _ => None,
    }
}

/// The chain of a real server.
fn name(service: usize, real: usize) -> String {
    format!("service{service}-real{real}")
}

/// All rules, in the place of all that there were.
fn ruleset<'a>(services: &[Service]) -> Result<Batch<'a>, Error> {
    let mut batch = Batch::new();
    // What is not there cannot be deleted.
    batch.add(table());
    batch.delete(table());
    batch.add(table());
    batch.add(NfListObject::Chain(Chain {
        _type: Some(NfChainType::NAT),
        hook: Some(NfHook::Prerouting),
        prio: Some(PRIORITY),
        policy: Some(NfChainPolicy::Accept),
        ..chain(ENTRANCE.to_owned())
    }));
    for (at, service) in services.iter().enumerate() {
        if service.method != Method::Nat {
            return Err(Error::Cannot(format!("forward {} by another method than NAT", service.address)));
        }
        for (number, real) in service.reals.iter().enumerate() {
            batch.add(NfListObject::Chain(chain(name(at, number))));
            batch.add(rule(
                name(at, number),
                vec![is_protocol(real.endpoint.protocol), counter(), to(real.endpoint)],
            ));
        }
        let mut statements = vec![is_address(service.address.address), is_port(service.address)];
        statements.push(choice(at, service)?);
        batch.add(rule(ENTRANCE.to_owned(), statements));
    }
    Ok(batch)
}

/// One of those who take new connections; without any, a connection is no more than a question without an answer.
fn choice<'a>(at: usize, service: &Service) -> Result<Statement<'a>, Error> {
    let share = |real: &Real| match service.scheduler {
        _ if !real.takes_new() => 0,
        Scheduler::RoundRobin => 1,
        _ => real.weight,
    };
    let slots: u32 = service.reals.iter().map(share).sum();
    if slots == 0 {
        return Ok(Statement::Drop(None));
    }
    if slots > SLOTS_MAX {
        return Err(Error::Cannot(format!("share {} by weights of {slots} in all", service.address)));
    }
    let hash =
        |of: Expression<'a>| JHash { hash_mod: slots, offset: None, expr: Box::new(of), seed: Some(1) };
    let source = || header(family(service.address.address), "saddr");
    let key = match service.scheduler {
        Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => {
            NamedExpression::Numgen(Numgen { mode: NgMode::Inc, ng_mod: slots, offset: None })
        }
        Scheduler::SourceHash => NamedExpression::JHash(hash(source())),
        Scheduler::Maglev => {
            let both = vec![source(), header(word(service.address.protocol), "sport")];
            NamedExpression::JHash(hash(Expression::Named(NamedExpression::Concat(both))))
        }
        other => return Err(Error::Cannot(format!("schedule {} by {other:?}", service.address))),
    };
    let order = service.reals.iter().enumerate();
    let order = order.flat_map(|(number, real)| std::iter::repeat_n(number, share(real) as usize));
    let target = |number| Verdict::Goto(JumpTarget { target: Cow::Owned(name(at, number)) });
    let slot = |(slot, number): (usize, usize)| {
        SetItem::Mapping(Expression::Number(slot as u32), Expression::Verdict(target(number)))
    };
    let slots = order.enumerate().map(slot).collect();
    Ok(Statement::VerdictMap(VerdictMap {
        key: Expression::Named(key),
        data: Expression::Named(NamedExpression::Set(slots)),
    }))
}

fn table<'a>() -> NfListObject<'a> {
    NfListObject::Table(Table { family: NfFamily::INet, name: Cow::Borrowed(TABLE), ..Table::default() })
}

fn chain<'a>(name: String) -> Chain<'a> {
    Chain { family: NfFamily::INet, table: Cow::Borrowed(TABLE), name: Cow::Owned(name), ..Chain::default() }
}

fn rule<'a>(chain: String, statements: Vec<Statement<'a>>) -> NfListObject<'a> {
    NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: Cow::Borrowed(TABLE),
        chain: Cow::Owned(chain),
        expr: Cow::Owned(statements),
        ..Rule::default()
    })
}

fn counter<'a>() -> Statement<'a> {
    Statement::Counter(Counter::Anonymous(Some(AnonymousCounter::default())))
}

fn to<'a>(real: Endpoint) -> Statement<'a> {
    Statement::DNAT(Some(NAT {
        addr: Some(Expression::String(Cow::Owned(real.address.to_string()))),
        family: Some(if real.address.is_ipv4() { NATFamily::IP } else { NATFamily::IP6 }),
        port: Some(Expression::Number(real.port.into())),
        flags: None,
    }))
}

/// Without this, ports are nothing that `nft` lets a rule rewrite.
fn is_protocol<'a>(protocol: Protocol) -> Statement<'a> {
    let key = Expression::Named(NamedExpression::Meta(Meta { key: MetaKey::L4proto }));
    equal(key, Expression::String(Cow::Borrowed(word(protocol))))
}

fn is_address<'a>(address: IpAddr) -> Statement<'a> {
    equal(header(family(address), "daddr"), Expression::String(Cow::Owned(address.to_string())))
}

fn is_port<'a>(service: Endpoint) -> Statement<'a> {
    equal(header(word(service.protocol), "dport"), Expression::Number(service.port.into()))
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn header<'a>(protocol: &'static str, field: &'static str) -> Expression<'a> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: Cow::Borrowed(protocol),
        field: Cow::Borrowed(field),
    })))
}

fn equal<'a>(left: Expression<'a>, right: Expression<'a>) -> Statement<'a> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Ipv4Addr;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    fn service(scheduler: Scheduler, weights: [u32; 3]) -> Service {
        let real = |(at, weight): (usize, u32)| Real {
            name: format!("web{at}"),
            endpoint: Endpoint::tcp(Ipv4Addr::new(10, 10, 1, 21 + at as u8), 8080),
            weight,
            available: at != 2,
        };
        Service {
            address: Endpoint::tcp(Ipv4Addr::new(203, 0, 113, 10), 80),
            method: Method::Nat,
            scheduler,
            reals: weights.into_iter().enumerate().map(real).collect(),
        }
    }

    /// The rules, one a line, without the table that they are in.
    fn written(services: &[Service]) -> Result<String, String> {
        let batch = ruleset(services).map_err(|error| error.to_string())?;
        let batch = serde_json::to_value(batch.to_nftables()).expect("JSON");
        let rules = batch["nftables"].as_array().expect("objects").iter();
        let line = |rule: &serde_json::Value| format!("{}: {}\n", rule["chain"], rule["expr"]);
        Ok(rules.filter_map(|object| object.pointer("/add/rule")).map(line).collect())
    }

    #[test]
    fn in_turn_by_weight_and_nobody_who_is_down() {
        insta::assert_snapshot!(written(&[service(Scheduler::WeightedRoundRobin, [2, 1, 1])]).unwrap(), @r#"
        "service0-real0": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"tcp"}},{"counter":{"bytes":0,"packets":0}},{"dnat":{"addr":"10.10.1.21","family":"ip","port":8080}}]
        "service0-real1": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"tcp"}},{"counter":{"bytes":0,"packets":0}},{"dnat":{"addr":"10.10.1.22","family":"ip","port":8080}}]
        "service0-real2": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"tcp"}},{"counter":{"bytes":0,"packets":0}},{"dnat":{"addr":"10.10.1.23","family":"ip","port":8080}}]
        "services": [{"match":{"left":{"payload":{"field":"daddr","protocol":"ip"}},"op":"==","right":"203.0.113.10"}},{"match":{"left":{"payload":{"field":"dport","protocol":"tcp"}},"op":"==","right":80}},{"vmap":{"data":{"set":[[0,{"goto":{"target":"service0-real0"}}],[1,{"goto":{"target":"service0-real0"}}],[2,{"goto":{"target":"service0-real1"}}]]},"key":{"numgen":{"mod":3,"mode":"inc"}}}}]
        "#);
    }

    #[test]
    fn by_the_clients_address_over_ipv6_and_udp() {
        let address = |host: u16| format!("2001:db8::{host:x}").parse::<IpAddr>().expect("an address");
        let mut service = service(Scheduler::Maglev, [1, 1, 1]);
        service.address = Endpoint::udp(address(0x10), 53);
        for (at, real) in service.reals.iter_mut().enumerate() {
            real.endpoint = Endpoint::udp(address(0x21 + at as u16), 53);
        }
        insta::assert_snapshot!(written(&[service]).unwrap(), @r#"
        "service0-real0": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"udp"}},{"counter":{"bytes":0,"packets":0}},{"dnat":{"addr":"2001:db8::21","family":"ip6","port":53}}]
        "service0-real1": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"udp"}},{"counter":{"bytes":0,"packets":0}},{"dnat":{"addr":"2001:db8::22","family":"ip6","port":53}}]
        "service0-real2": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"udp"}},{"counter":{"bytes":0,"packets":0}},{"dnat":{"addr":"2001:db8::23","family":"ip6","port":53}}]
        "services": [{"match":{"left":{"payload":{"field":"daddr","protocol":"ip6"}},"op":"==","right":"2001:db8::10"}},{"match":{"left":{"payload":{"field":"dport","protocol":"udp"}},"op":"==","right":53}},{"vmap":{"data":{"set":[[0,{"goto":{"target":"service0-real0"}}],[1,{"goto":{"target":"service0-real1"}}]]},"key":{"jhash":{"expr":{"concat":[{"payload":{"field":"saddr","protocol":"ip6"}},{"payload":{"field":"sport","protocol":"udp"}}]},"mod":2,"seed":1}}}}]
        "#);
    }

    #[test]
    fn the_kernel_takes_the_rules_and_counts() {
        if !crate::kernel::nft::available() {
            let _ = writeln!(std::io::stderr(), "skipped: no nft");
            return;
        }
        let thread = std::thread::spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                // Not `println!`, which the test harness swallows when a test passes.
                let _ = writeln!(std::io::stderr(), "skipped: no network namespace ({error})");
                return;
            }
            let mut dnat = Dnat::default();
            assert!(dnat.usage().unwrap().is_empty());
            let mut by_hash = service(Scheduler::Maglev, [1, 1, 1]);
            (by_hash.address.port, by_hash.address.protocol) = (53, Protocol::Udp);
            for real in &mut by_hash.reals {
                (real.endpoint.port, real.endpoint.protocol) = (53, Protocol::Udp);
            }
            let services = [service(Scheduler::WeightedRoundRobin, [2, 1, 1]), by_hash];
            for _ in 0..2 {
                dnat.install(&services).unwrap();
            }
            let usage = dnat.usage().unwrap();
            assert_eq!(usage.len(), 6);
            assert!(usage.values().all(|usage| *usage == Usage::default()), "{usage:?}");
        });
        thread.join().expect("the test");
    }

    #[test]
    fn without_anybody_nothing_is_answered() {
        let text = written(&[service(Scheduler::SourceHash, [0, 0, 1])]).unwrap();
        assert!(text.ends_with("{\"drop\":null}]\n"), "{text}");
    }

    #[test]
    fn what_rules_cannot_do_is_refused() {
        let busy = written(&[service(Scheduler::LeastConnections, [1, 1, 1])]);
        assert_eq!(busy, Err("nft cannot schedule 203.0.113.10:80 by LeastConnections".to_owned()));
        let heavy = written(&[service(Scheduler::WeightedRoundRobin, [1000, 1000, 1])]);
        assert_eq!(heavy, Err("nft cannot share 203.0.113.10:80 by weights of 2000 in all".to_owned()));
        let direct = Service { method: Method::Dr, ..service(Scheduler::RoundRobin, [1, 1, 1]) };
        assert_eq!(
            written(&[direct]),
            Err("nft cannot forward 203.0.113.10:80 by another method than NAT".to_owned())
        );
    }
}
