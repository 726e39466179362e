//! The data plane of nftables: destination NAT with connection tracking, which the kernel does wherever network namespaces can
//! be had, in a user namespace too. Tracked and not stateless, because `rr` and `wrr` must remember whom they chose, a
//! connection must keep its real server when another one comes or goes, and errors of ICMP must be translated as well.
//!
//! Connections live in the kernel's table: they are neither listed nor told of, and none is adopted. The hash is the same
//! everywhere, so with `sh` and `mh` a director that takes over gives connections to the real servers that had them, as long as
//! the same are up. Usage knows how many connections a real server got, and not what they carry. Unlike eBPF programs, rules
//! outlive a process that is killed; the next one begins by removing them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use nftables::batch::Batch;
use nftables::expr::{Expression, JHash, Meta, MetaKey, NamedExpression, NgMode, Numgen, SetItem, Verdict};
use nftables::helper::{NftablesError, apply_ruleset, get_current_ruleset_with_args};
use nftables::schema::{Chain, Counter, FlushObject, NfCmd, NfListObject, NfObject, Rule, Table};
use nftables::stmt::{Counter as Count, JumpTarget, NAT, NATFamily, Statement, VerdictMap};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use super::{Backend, Plane, Stats};
use crate::balancer::{
    Conflict, Endpoint, Flow, Method, Protocol, Real, Scheduler, Service, Usage, check_together,
};
use crate::kernel::nft::{equal, header};

const TABLE: &str = "labctl_balancer";
/// Where packets come in. It has a rule while the plane is switched on.
const ENTRANCE: &str = "entrance";
/// A rule for each service.
const SERVICES: &str = "services";
/// `dstnat`, where destination NAT belongs in the order of hooks.
const PRIORITY: i32 = -100;
/// Most slots of a service; weights that would need more are refused.
const SLOTS_MAX: u32 = 1024;

/// Why connections are not given to real servers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot do what is wanted.
    #[error("nftables cannot {0}")]
    Cannot(String),
    /// The services exclude each other.
    #[error("install the services")]
    Conflict(#[from] Conflict),
    /// The program or the kernel refused.
    #[error("{act} the rules of the balancer")]
    Nft {
        /// What was tried.
        act: &'static str,
        /// What `nft` said.
        #[source]
        source: Box<NftablesError>,
    },
}

impl From<Error> for super::Error {
    fn from(error: Error) -> Self {
        Self::Director { backend: Backend::Conntrack, source: error.into() }
    }
}

/// The rules of this network namespace. They are removed when this is dropped.
#[derive(Debug)]
pub struct NftPlane {
    services: Vec<Service>,
}

/// Turns the plane on and off, whatever services it has.
#[derive(Debug)]
pub struct Switch(());

impl Switch {
    /// Gives new connections to real servers from now on, or leaves them to the kernel.
    pub fn set(&mut self, active: bool) -> Result<(), super::Error> {
        let mut batch = Batch::new();
        batch.add_cmd(flush(ENTRANCE.to_owned()));
        if active {
            let jump = Statement::Jump(JumpTarget { target: Cow::Borrowed(SERVICES) });
            batch.add(rule(ENTRANCE.to_owned(), vec![jump]));
        }
        Ok(apply("switch", batch)?)
    }
}

impl NftPlane {
    /// In the network namespace of this process. Switched off, and without services.
    pub fn open() -> Result<(Self, Switch), super::Error> {
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
        batch.add(NfListObject::Chain(chain(SERVICES.to_owned())));
        apply("begin", batch)?;
        Ok((Self { services: Vec::new() }, Switch(())))
    }

    /// Connections given to each real server (second) of each service (first).
    fn connections(&self) -> Result<BTreeMap<(Endpoint, Endpoint), u64>, Error> {
        let failed = |source| Error::Nft { act: "list", source: Box::new(source) };
        let listed =
            get_current_ruleset_with_args(None::<&str>, ["list", "counters", "table", "inet", TABLE])
                .map_err(failed)?;
        let counted = |object: &NfObject<'_>| match object {
            NfObject::ListObject(NfListObject::Counter(counter)) => {
                Some((counter.name.to_string(), u64::from(counter.packets?)))
            }
            _ => None,
        };
        let counts: BTreeMap<String, u64> = listed.objects.iter().filter_map(counted).collect();
        let count = |pair| counts.get(&name(pair)).copied().unwrap_or_default();
        Ok(self.services.iter().flat_map(pairs).map(|pair| (pair, count(pair))).collect())
    }
}

impl Plane for NftPlane {
    /// One transaction. Connections that there are keep their real servers, because the kernel asks no rule about them any more.
    fn install(&mut self, services: &[Service]) -> Result<(), super::Error> {
        check_together(services)?;
        apply("change", change(&self.services, services)?)?;
        self.services = services.to_vec();
        Ok(())
    }

    fn stats(&self) -> Result<Stats, super::Error> {
        Ok(Stats { opened: self.connections()?.values().sum(), ..Stats::default() })
    }

    fn usage(&self) -> Result<BTreeMap<(Endpoint, Endpoint), Usage>, super::Error> {
        let usage = |connections| Usage { connections, ..Usage::default() };
        Ok(self.connections()?.into_iter().map(|(pair, connections)| (pair, usage(connections))).collect())
    }

    /// None: they are the kernel's.
    fn flows(&self) -> Result<Vec<Flow>, super::Error> {
        Ok(Vec::new())
    }

    /// None.
    fn adopt(&mut self, _: &[Flow]) -> Result<usize, super::Error> {
        Ok(0)
    }

    fn fresh(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn fresh_flows(&mut self) -> Result<Vec<Flow>, super::Error> {
        Ok(Vec::new())
    }

    /// The kernel forgets connections by itself.
    fn recount(&mut self) -> Result<u64, super::Error> {
        Ok(0)
    }

    fn backend(&self) -> Backend {
        Backend::Conntrack
    }
}

impl Drop for NftPlane {
    fn drop(&mut self) {
        let mut batch = Batch::new();
        batch.delete(table());
        if let Err(error) = apply("remove", batch) {
            tracing::warn!("the rules of the balancer stay: {error}");
        }
    }
}

fn apply(act: &'static str, batch: Batch<'_>) -> Result<(), Error> {
    apply_ruleset(&batch.to_nftables()).map_err(|source| Error::Nft { act, source: Box::new(source) })
}

/// A service, and a real server of it.
type Pair = (Endpoint, Endpoint);

fn pairs(service: &Service) -> impl Iterator<Item = Pair> {
    service.reals.iter().map(|real| (service.address, real.endpoint))
}

/// The chain and the counter of a real server. It has no character that `nft` would not read back.
fn name((service, real): Pair) -> String {
    let port = |it: Endpoint| format!("{}-{}", it.address, it.port).replace(':', "_");
    format!("{}-{}-to-{}", word(service.protocol), port(service), port(real))
}

/// From the rules that there are to those that are wanted. Who stays keeps the counter.
fn change<'a>(before: &[Service], wanted: &[Service]) -> Result<Batch<'a>, Error> {
    let mut batch = Batch::new();
    batch.add_cmd(flush(SERVICES.to_owned()));
    for pair in before.iter().flat_map(pairs) {
        batch.add_cmd(flush(name(pair)));
    }
    for pair in before.iter().flat_map(pairs) {
        if !wanted.iter().flat_map(pairs).any(|stays| stays == pair) {
            batch.delete(NfListObject::Chain(chain(name(pair))));
            batch.delete(counter(pair));
        }
    }
    for service in wanted {
        if service.method != Method::Nat {
            let method = format!("{:?}", service.method).to_lowercase();
            return Err(Error::Cannot(format!("forward {} by {method}; it can by nat", service.address)));
        }
        for pair in pairs(service) {
            batch.add(counter(pair));
            batch.add(NfListObject::Chain(chain(name(pair))));
            let counts = Statement::Counter(Count::Named(Cow::Owned(name(pair))));
            batch.add(rule(name(pair), vec![is_protocol(pair.1.protocol), counts, to(pair.1)]));
        }
        let address = service.address;
        batch.add(rule(
            SERVICES.to_owned(),
            vec![is_address(address.address), is_port(address), choice(service)?],
        ));
    }
    Ok(batch)
}

/// One of those who take new connections; without any, a connection is no more than a question without an answer.
fn choice<'a>(service: &Service) -> Result<Statement<'a>, Error> {
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
        Scheduler::LeastConnections
        | Scheduler::WeightedLeastConnections
        | Scheduler::ShortestExpectedDelay
        | Scheduler::NeverQueue => {
            let what = "schedule by the number of open connections; take sh, mh, rr or wrr for";
            return Err(Error::Cannot(format!("{what} {}", service.address)));
        }
    };
    let order = service.reals.iter();
    let order =
        order.flat_map(|real| std::iter::repeat_n((service.address, real.endpoint), share(real) as usize));
    let target = |pair| Verdict::Goto(JumpTarget { target: Cow::Owned(name(pair)) });
    let slot = |(slot, pair): (usize, Pair)| {
        SetItem::Mapping(Expression::Number(slot as u32), Expression::Verdict(target(pair)))
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

fn counter<'a>(pair: Pair) -> NfListObject<'a> {
    NfListObject::Counter(Counter {
        family: NfFamily::INet,
        table: Cow::Borrowed(TABLE),
        name: Cow::Owned(name(pair)),
        ..Counter::default()
    })
}

fn flush<'a>(name: String) -> NfCmd<'a> {
    NfCmd::Flush(FlushObject::Chain(chain(name)))
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
        let batch = change(&[], services).map_err(|error| error.to_string())?;
        let batch = serde_json::to_value(batch.to_nftables()).expect("JSON");
        let rules = batch["nftables"].as_array().expect("objects").iter();
        let line = |rule: &serde_json::Value| format!("{}: {}\n", rule["chain"], rule["expr"]);
        Ok(rules.filter_map(|object| object.pointer("/add/rule")).map(line).collect())
    }

    #[test]
    fn in_turn_by_weight_and_nobody_who_is_down() {
        insta::assert_snapshot!(written(&[service(Scheduler::WeightedRoundRobin, [2, 1, 1])]).unwrap(), @r#"
        "tcp-203.0.113.10-80-to-10.10.1.21-8080": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"tcp"}},{"counter":"tcp-203.0.113.10-80-to-10.10.1.21-8080"},{"dnat":{"addr":"10.10.1.21","family":"ip","port":8080}}]
        "tcp-203.0.113.10-80-to-10.10.1.22-8080": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"tcp"}},{"counter":"tcp-203.0.113.10-80-to-10.10.1.22-8080"},{"dnat":{"addr":"10.10.1.22","family":"ip","port":8080}}]
        "tcp-203.0.113.10-80-to-10.10.1.23-8080": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"tcp"}},{"counter":"tcp-203.0.113.10-80-to-10.10.1.23-8080"},{"dnat":{"addr":"10.10.1.23","family":"ip","port":8080}}]
        "services": [{"match":{"left":{"payload":{"field":"daddr","protocol":"ip"}},"op":"==","right":"203.0.113.10"}},{"match":{"left":{"payload":{"field":"dport","protocol":"tcp"}},"op":"==","right":80}},{"vmap":{"data":{"set":[[0,{"goto":{"target":"tcp-203.0.113.10-80-to-10.10.1.21-8080"}}],[1,{"goto":{"target":"tcp-203.0.113.10-80-to-10.10.1.21-8080"}}],[2,{"goto":{"target":"tcp-203.0.113.10-80-to-10.10.1.22-8080"}}]]},"key":{"numgen":{"mod":3,"mode":"inc"}}}}]
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
        "udp-2001_db8__10-53-to-2001_db8__21-53": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"udp"}},{"counter":"udp-2001_db8__10-53-to-2001_db8__21-53"},{"dnat":{"addr":"2001:db8::21","family":"ip6","port":53}}]
        "udp-2001_db8__10-53-to-2001_db8__22-53": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"udp"}},{"counter":"udp-2001_db8__10-53-to-2001_db8__22-53"},{"dnat":{"addr":"2001:db8::22","family":"ip6","port":53}}]
        "udp-2001_db8__10-53-to-2001_db8__23-53": [{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":"udp"}},{"counter":"udp-2001_db8__10-53-to-2001_db8__23-53"},{"dnat":{"addr":"2001:db8::23","family":"ip6","port":53}}]
        "services": [{"match":{"left":{"payload":{"field":"daddr","protocol":"ip6"}},"op":"==","right":"2001:db8::10"}},{"match":{"left":{"payload":{"field":"dport","protocol":"udp"}},"op":"==","right":53}},{"vmap":{"data":{"set":[[0,{"goto":{"target":"udp-2001_db8__10-53-to-2001_db8__21-53"}}],[1,{"goto":{"target":"udp-2001_db8__10-53-to-2001_db8__22-53"}}]]},"key":{"jhash":{"expr":{"concat":[{"payload":{"field":"saddr","protocol":"ip6"}},{"payload":{"field":"sport","protocol":"udp"}}]},"mod":2,"seed":1}}}}]
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
            let (mut plane, mut switch) = NftPlane::open().unwrap();
            assert!(plane.usage().unwrap().is_empty());
            let mut by_hash = service(Scheduler::Maglev, [1, 1, 1]);
            (by_hash.address.port, by_hash.address.protocol) = (53, Protocol::Udp);
            for real in &mut by_hash.reals {
                (real.endpoint.port, real.endpoint.protocol) = (53, Protocol::Udp);
            }
            let services = [service(Scheduler::WeightedRoundRobin, [2, 1, 1]), by_hash];
            for (active, services) in [(true, &services[..]), (false, &services[..1]), (true, &services[..])]
            {
                plane.install(services).unwrap();
                switch.set(active).unwrap();
                let usage = plane.usage().unwrap();
                assert_eq!(usage.len(), 3 * services.len());
                assert!(usage.values().all(|usage| *usage == Usage::default()), "{usage:?}");
            }
            // A plane that comes after one that was killed begins anew.
            std::mem::forget(plane);
            let (plane, _) = NftPlane::open().unwrap();
            assert_eq!(plane.stats().unwrap(), Stats::default());
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
        let why = "nftables cannot schedule by the number of open connections; take sh, mh, rr or wrr for";
        assert_eq!(busy, Err(format!("{why} 203.0.113.10:80")));
        let heavy = written(&[service(Scheduler::WeightedRoundRobin, [1000, 1000, 1])]);
        assert_eq!(heavy, Err("nftables cannot share 203.0.113.10:80 by weights of 2000 in all".to_owned()));
        let direct = Service { method: Method::Dr, ..service(Scheduler::RoundRobin, [1, 1, 1]) };
        assert_eq!(
            written(&[direct]),
            Err("nftables cannot forward 203.0.113.10:80 by dr; it can by nat".to_owned())
        );
    }
}
