//! The netfilter rules of a lab, all at the border between the site and the street: what leaves by the public interface
//! carries the public address, and connections of the virtual services are the data plane's alone. Written by `nft`
//! through its JSON interface, in the network namespace of the calling process.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use nftables::batch::Batch;
use nftables::expr::{Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField};
use nftables::helper::{NftablesError, apply_ruleset};
use nftables::schema::{Chain, NfListObject, Rule, Table};
use nftables::stmt::{Match, NAT, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

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

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program or the kernel refused.
    #[error("guard the border at {interface}, where what leaves carries {address}")]
    Apply {
        /// Outgoing interface.
        interface: String,
        /// The address it should carry.
        address: Ipv4Addr,
        /// What `nft` said.
        #[source]
        source: Box<NftablesError>,
    },
}

/// Where a site ends.
#[derive(Debug)]
pub struct Border<'a> {
    /// The public interface.
    pub interface: &'a str,
    /// The public address.
    pub address: Ipv4Addr,
    /// Other addresses that this machine has there: what it says in its own name stays as it is.
    pub own: &'a [Ipv4Addr],
    /// TCP ports of the public address that only the data plane serves.
    pub services: Vec<u16>,
    /// Who answers behind it.
    pub reals: Vec<SocketAddrV4>,
}

/// Whether the `nft` program is there to be run.
pub fn available() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join("nft").is_file())
}

/// Every packet that leaves by the public interface gets the public address as its source.
///
/// The data plane takes connections of the virtual services before netfilter ever sees them, so netfilter sees them
/// only while there is no data plane. Then they are dropped in both directions: nobody listens on the virtual address,
/// and a reset would end connections that go on once the balancer is back. The few segments that a running data plane
/// leaves to the kernel (fragments, the last hop, a service without a real server) get no reset either: a real server
/// that has the connection must not lose it to a machine that has not.
pub fn guard(border: &Border) -> Result<(), Error> {
    apply_ruleset(&rules(border).to_nftables()).map_err(|source| Error::Apply {
        interface: border.interface.to_owned(),
        address: border.address,
        source: Box::new(source),
    })
}

fn rules<'a>(border: &Border) -> Batch<'a> {
    let mut batch = Batch::new();
    batch.add(NfListObject::Table(Table {
        family: NfFamily::IP,
        name: Cow::Borrowed(TABLE),
        ..Table::default()
    }));
    batch.add(chain(OUTSIDE, NfChainType::NAT, NfHook::Postrouting, PRIORITY_SOURCE_NAT));
    let carries = Statement::SNAT(Some(NAT {
        addr: Some(Expression::String(Cow::Owned(border.address.to_string()))),
        family: None,
        port: None,
        flags: None,
    }));
    for own in border.own {
        let leaves = is_interface(MetaKey::Oifname, border.interface);
        batch.add(rule(OUTSIDE, vec![leaves, is_address("saddr", *own), Statement::Accept(None)]));
    }
    batch.add(rule(OUTSIDE, vec![is_interface(MetaKey::Oifname, border.interface), carries]));
    if !border.services.is_empty() {
        batch.add(chain(SERVICES, NfChainType::Filter, NfHook::Input, PRIORITY_FILTER));
        batch.add(chain(ANSWERS, NfChainType::Filter, NfHook::Forward, PRIORITY_FILTER));
    }
    for &port in &border.services {
        let comes_in = is_interface(MetaKey::Iifname, border.interface);
        let (address, port) = (is_address("daddr", border.address), is_port("dport", port));
        batch.add(rule(SERVICES, vec![comes_in, address, port, Statement::Drop(None)]));
    }
    for real in border.reals.iter().filter(|_| !border.services.is_empty()) {
        let leaves = is_interface(MetaKey::Oifname, border.interface);
        let (address, port) = (is_address("saddr", *real.ip()), is_port("sport", real.port()));
        batch.add(rule(ANSWERS, vec![leaves, address, port, Statement::Drop(None)]));
    }
    batch
}

fn chain<'a>(name: &'static str, kind: NfChainType, hook: NfHook, priority: i32) -> NfListObject<'a> {
    NfListObject::Chain(Chain {
        family: NfFamily::IP,
        table: Cow::Borrowed(TABLE),
        name: Cow::Borrowed(name),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    })
}

fn rule<'a>(chain: &'static str, statements: Vec<Statement<'a>>) -> NfListObject<'a> {
    NfListObject::Rule(Rule {
        family: NfFamily::IP,
        table: Cow::Borrowed(TABLE),
        chain: Cow::Borrowed(chain),
        expr: Cow::Owned(statements),
        ..Rule::default()
    })
}

fn is_interface<'a>(key: MetaKey, name: &str) -> Statement<'a> {
    equal(
        Expression::Named(NamedExpression::Meta(Meta { key })),
        Expression::String(Cow::Owned(name.to_owned())),
    )
}

fn is_address<'a>(field: &'static str, address: Ipv4Addr) -> Statement<'a> {
    equal(header("ip", field), Expression::String(Cow::Owned(address.to_string())))
}

fn is_port<'a>(field: &'static str, port: u16) -> Statement<'a> {
    equal(header("tcp", field), Expression::Number(port.into()))
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
    use serde_json::Value;

    use super::*;

    /// One line a rule: its chain, and the values of what it says.
    fn written(own: &[Ipv4Addr], services: Vec<u16>) -> String {
        let reals = ["10.10.1.21:8080", "10.10.1.22:8080"].map(|real| real.parse().expect("an endpoint"));
        let address = Ipv4Addr::new(203, 0, 113, 10);
        let border = Border { interface: "front", address, own, services, reals: reals.into() };
        let batch = serde_json::to_value(rules(&border).to_nftables()).expect("JSON");
        let objects = batch["nftables"].as_array().expect("objects");
        let lines = objects.iter().filter_map(|object| object.pointer("/add/rule"));
        lines.map(|rule| format!("{}:{}\n", rule["chain"], words(&rule["expr"]))).collect()
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
            other => format!(" {other}"),
        }
    }

    #[test]
    fn virtual_services_are_the_data_planes_alone() {
        insta::assert_snapshot!(written(&[], vec![80]), @r#"
        "outside": "oifname" "front" snat "203.0.113.10"
        "services": "iifname" "front" "daddr" "ip" "203.0.113.10" "dport" "tcp" 80 drop
        "answers": "oifname" "front" "saddr" "ip" "10.10.1.21" "sport" "tcp" 8080 drop
        "answers": "oifname" "front" "saddr" "ip" "10.10.1.22" "sport" "tcp" 8080 drop
        "#);
    }

    #[test]
    fn without_virtual_services_there_is_only_source_nat() {
        insta::assert_snapshot!(written(&[], vec![]), @r#""outside": "oifname" "front" snat "203.0.113.10""#);
    }
    #[test]
    fn a_machine_speaks_in_its_own_name_where_it_has_one() {
        let own = [Ipv4Addr::new(203, 0, 113, 11)];
        insta::assert_snapshot!(written(&own, vec![]), @r#"
        "outside": "oifname" "front" "saddr" "ip" "203.0.113.11" accept
        "outside": "oifname" "front" snat "203.0.113.10"
        "#);
    }
}
