//! The netfilter rules of a lab, all at the border between the site and the street: what leaves by the public interface
//! carries the public address, and connections of the virtual services are the data plane's alone. Written by `nft`
//! through its JSON interface, in the network namespace of the calling process.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use nftables::batch::Batch;
use nftables::expr::{CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField};
use nftables::helper::{NftablesError, apply_ruleset};
use nftables::schema::{Chain, NfListObject, Rule, Table};
use nftables::stmt::{Match, NAT, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use crate::balancer::{Endpoint, Protocol};

const TABLE: &str = "labctl";
/// Source NAT of what leaves.
const OUTSIDE: &str = "outside";
/// What comes for a virtual service and was left to the kernel.
const SERVICES: &str = "services";
/// What real servers answer and was left to the kernel.
const ANSWERS: &str = "answers";
/// `srcnat`, where source NAT belongs in the order of hooks.
const PRIORITY_SOURCE_NAT: i32 = 100;
/// `filter`, where packets are dropped.
const PRIORITY_FILTER: i32 = 0;

/// The program or the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("guard the border of the site by `nft`")]
pub struct Error(#[source] Box<NftablesError>);

/// Where a site ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Border {
    /// Whoever leaves by one of these interfaces carries a public address.
    pub outside: Vec<Outside>,
    /// Ports that only the data plane serves, and the interface by which clients come to each.
    pub services: Vec<(String, Endpoint)>,
    /// Who answers behind it, and the interface by which those answers would leave that the data plane did not see.
    pub answers: Vec<(String, Endpoint)>,
}

/// A public interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The interface.
    pub interface: String,
    /// What leaves by it carries this address.
    pub address: Ipv4Addr,
    /// Other addresses that this machine has there: what it says in its own name stays as it is.
    pub own: Vec<Ipv4Addr>,
}

/// Whether the `nft` program is there to be run.
pub fn available() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join("nft").is_file())
}

/// Every IPv4 packet that leaves by a public interface gets the public address as its source.
///
/// The data plane takes connections of the virtual services before netfilter ever sees them, so netfilter sees them
/// only while there is no data plane. Then they are dropped in both directions: nobody listens on the virtual address,
/// and a reset would end connections that go on once the balancer is back. The few segments that a running data plane
/// leaves to the kernel (fragments, the last hop, a service without a real server) get no reset either: a real server
/// that has the connection must not lose it to a machine that has not. Answers are dropped only where they are the data
/// plane's: elsewhere they do not pass this machine, or are not to be rewritten. And not where the data plane is netfilter
/// itself, which gives an answer the virtual address only after this hook, and knows by then that it will.
pub fn guard(border: &Border) -> Result<(), Error> {
    apply_ruleset(&rules(border).to_nftables()).map_err(|source| Error(Box::new(source)))
}

/// The rules of one family at a time: each has a table of its own, so that none needs IPv6 without any use for it.
fn rules<'a>(border: &Border) -> Batch<'a> {
    let mut batch = Batch::new();
    for (family, v6) in [(NfFamily::IP, false), (NfFamily::IP6, true)] {
        let of_family = |all: &[(String, Endpoint)]| {
            let ours = all.iter().filter(|(_, port)| port.address.is_ipv6() == v6);
            ours.cloned().collect::<Vec<_>>()
        };
        let (services, answers) = (of_family(&border.services), of_family(&border.answers));
        let outside = border.outside.iter().filter(|_| !v6).collect::<Vec<_>>();
        let mut rules = Rules { family, batch: &mut batch };
        if !(outside.is_empty() && services.is_empty() && answers.is_empty()) {
            rules.table();
        }
        if !outside.is_empty() {
            rules.chain(OUTSIDE, NfChainType::NAT, NfHook::Postrouting, PRIORITY_SOURCE_NAT);
            outside.into_iter().for_each(|outside| rules.translate(outside));
        }
        if !services.is_empty() {
            rules.chain(SERVICES, NfChainType::Filter, NfHook::Input, PRIORITY_FILTER);
            for (interface, port) in services {
                let place = is_interface(MetaKey::Iifname, &interface);
                rules.drop(SERVICES, place, ("daddr", "dport"), port);
            }
        }
        if !answers.is_empty() {
            rules.chain(ANSWERS, NfChainType::Filter, NfHook::Forward, PRIORITY_FILTER);
            rules.rule(ANSWERS, vec![is_translated(), Statement::Accept(None)]);
            for (interface, port) in answers {
                let place = is_interface(MetaKey::Oifname, &interface);
                rules.drop(ANSWERS, place, ("saddr", "sport"), port);
            }
        }
    }
    batch
}

/// The rules of one family.
struct Rules<'b, 'a> {
    family: NfFamily,
    batch: &'b mut Batch<'a>,
}

impl Rules<'_, '_> {
    fn table(&mut self) {
        let family = self.family;
        self.batch.add(NfListObject::Table(Table { family, name: Cow::Borrowed(TABLE), ..Table::default() }));
    }

    fn chain(&mut self, name: &'static str, kind: NfChainType, hook: NfHook, priority: i32) {
        self.batch.add(NfListObject::Chain(Chain {
            family: self.family,
            table: Cow::Borrowed(TABLE),
            name: Cow::Borrowed(name),
            _type: Some(kind),
            hook: Some(hook),
            prio: Some(priority),
            policy: Some(NfChainPolicy::Accept),
            ..Chain::default()
        }));
    }

    fn rule(&mut self, chain: &'static str, statements: Vec<Statement<'static>>) {
        self.batch.add(NfListObject::Rule(Rule {
            family: self.family,
            table: Cow::Borrowed(TABLE),
            chain: Cow::Borrowed(chain),
            expr: Cow::Owned(statements),
            ..Rule::default()
        }));
    }

    fn translate(&mut self, Outside { interface, address, own }: &Outside) {
        let leaves = || is_interface(MetaKey::Oifname, interface);
        for own in own {
            self.rule(OUTSIDE, vec![leaves(), is_address("saddr", (*own).into()), Statement::Accept(None)]);
        }
        let carries = Statement::SNAT(Some(NAT {
            addr: Some(Expression::String(Cow::Owned(address.to_string()))),
            family: None,
            port: None,
            flags: None,
        }));
        self.rule(OUTSIDE, vec![leaves(), carries]);
    }

    fn drop(
        &mut self,
        chain: &'static str,
        place: Statement<'static>,
        (address, number): (&'static str, &'static str),
        port: Endpoint,
    ) {
        let (address, number) = (is_address(address, port.address), is_port(number, port));
        self.rule(chain, vec![place, address, number, Statement::Drop(None)]);
    }
}

/// Connections whose destination netfilter rewrites.
fn is_translated<'a>() -> Statement<'a> {
    let status = CT { key: Cow::Borrowed("status"), family: None, dir: None };
    let left = Expression::Named(NamedExpression::CT(status));
    Statement::Match(Match { left, right: Expression::String(Cow::Borrowed("dnat")), op: Operator::IN })
}

fn is_interface<'a>(key: MetaKey, name: &str) -> Statement<'a> {
    equal(
        Expression::Named(NamedExpression::Meta(Meta { key })),
        Expression::String(Cow::Owned(name.to_owned())),
    )
}

fn is_address<'a>(field: &'static str, address: IpAddr) -> Statement<'a> {
    let protocol = if address.is_ipv4() { "ip" } else { "ip6" };
    equal(header(protocol, field), Expression::String(Cow::Owned(address.to_string())))
}

fn is_port<'a>(field: &'static str, port: Endpoint) -> Statement<'a> {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    equal(header(protocol, field), Expression::Number(port.port.into()))
}

/// A field of a packet's header.
pub(crate) fn header<'a>(protocol: &'static str, field: &'static str) -> Expression<'a> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: Cow::Borrowed(protocol),
        field: Cow::Borrowed(field),
    })))
}

/// A rule goes on only if these are the same.
pub(crate) fn equal<'a>(left: Expression<'a>, right: Expression<'a>) -> Statement<'a> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn outside(own: &[Ipv4Addr]) -> Outside {
        let address = Ipv4Addr::new(203, 0, 113, 10);
        Outside { interface: "front".to_owned(), address, own: own.into() }
    }

    fn on(interface: &str, port: Endpoint) -> (String, Endpoint) {
        (interface.to_owned(), port)
    }

    /// One line a chain or a rule: its family, its chain, and the values of what it says.
    fn written(border: &Border) -> String {
        let batch = serde_json::to_value(rules(border).to_nftables()).expect("JSON");
        let objects = batch["nftables"].as_array().expect("objects");
        let line = |object: &Value| {
            let what = object.pointer("/add")?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match what.get("rule") {
                Some(rule) => Some(format!(
                    "{} {}:{}\n",
                    text(&rule["family"]),
                    text(&rule["chain"]),
                    words(&rule["expr"])
                )),
                None => what.get("chain").map(|chain| {
                    format!(
                        "{} {} at {}\n",
                        text(&chain["family"]),
                        text(&chain["name"]),
                        text(&chain["hook"])
                    )
                }),
            }
        };
        objects.iter().filter_map(line).collect()
    }

    fn words(value: &Value) -> String {
        match value {
            Value::Array(parts) => parts.iter().map(words).collect(),
            Value::Object(parts) => parts
                .iter()
                .filter(|(key, _)| *key != "op")
                .map(|(key, part)| match key.as_str() {
                    "accept" | "drop" | "snat" => format!(" {key}{}", words(part)),
                    _ => words(part),
                })
                .collect(),
            Value::Null => String::new(),
            Value::String(text) => format!(" {text}"),
            other => format!(" {other}"),
        }
    }

    #[test]
    fn virtual_services_are_the_data_planes_alone() {
        let vip = [203, 0, 113, 10];
        let real = |host| Endpoint::tcp([10, 10, 1, host], 8080);
        let vip6: IpAddr = "2001:db8:f::10".parse().unwrap();
        let border = Border {
            outside: vec![outside(&[])],
            services: vec![
                on("front", Endpoint::tcp(vip, 80)),
                on("front", Endpoint::udp(vip, 53)),
                on("other", Endpoint::tcp(vip6, 80)),
            ],
            answers: vec![on("front", real(21)), on("front", real(22))],
        };
        insta::assert_snapshot!(written(&border), @"
        ip outside at postrouting
        ip outside: oifname front snat 203.0.113.10
        ip services at input
        ip services: iifname front daddr ip 203.0.113.10 dport tcp 80 drop
        ip services: iifname front daddr ip 203.0.113.10 dport udp 53 drop
        ip answers at forward
        ip answers: status dnat accept
        ip answers: oifname front saddr ip 10.10.1.21 sport tcp 8080 drop
        ip answers: oifname front saddr ip 10.10.1.22 sport tcp 8080 drop
        ip6 services at input
        ip6 services: iifname other daddr ip6 2001:db8:f::10 dport tcp 80 drop
        ");
    }

    #[test]
    fn without_virtual_services_there_is_only_source_nat() {
        let border = Border { outside: vec![outside(&[])], ..Border::default() };
        insta::assert_snapshot!(written(&border), @"
        ip outside at postrouting
        ip outside: oifname front snat 203.0.113.10
        ");
    }

    #[test]
    fn a_machine_speaks_in_its_own_name_where_it_has_one() {
        let border =
            Border { outside: vec![outside(&[Ipv4Addr::new(203, 0, 113, 11)])], ..Border::default() };
        insta::assert_snapshot!(written(&border), @"
        ip outside at postrouting
        ip outside: oifname front saddr ip 203.0.113.11 accept
        ip outside: oifname front snat 203.0.113.10
        ");
    }

    #[test]
    fn a_site_without_a_border_has_no_rules() {
        assert_eq!(written(&Border::default()), "");
    }
}
