//! The one netfilter rule of a lab: what leaves by the public interface carries the public address. Written by `nft`
//! through its JSON interface, in the network namespace of the calling process.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use nftables::batch::Batch;
use nftables::expr::{Expression, Meta, MetaKey, NamedExpression};
use nftables::helper::{NftablesError, apply_ruleset};
use nftables::schema::{Chain, NfListObject, Rule, Table};
use nftables::stmt::{Match, NAT, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

const TABLE: &str = "labctl";
const CHAIN: &str = "outside";
/// `srcnat`, where source NAT belongs in the order of hooks.
const PRIORITY: i32 = 100;

/// Why there is no rule.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program or the kernel refused.
    #[error("translate the source of what leaves by {interface} to {address}")]
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

/// Whether the `nft` program is there to be run.
pub fn available() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join("nft").is_file())
}

/// Every packet that leaves by `interface` gets `address` as its source.
pub fn source_nat(interface: &str, address: Ipv4Addr) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.add(NfListObject::Table(Table {
        family: NfFamily::IP,
        name: Cow::Borrowed(TABLE),
        ..Table::default()
    }));
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::IP,
        table: Cow::Borrowed(TABLE),
        name: Cow::Borrowed(CHAIN),
        _type: Some(NfChainType::NAT),
        hook: Some(NfHook::Postrouting),
        prio: Some(PRIORITY),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
    let leaves_by = Statement::Match(Match {
        left: Expression::Named(NamedExpression::Meta(Meta { key: MetaKey::Oifname })),
        right: Expression::String(Cow::Owned(interface.to_owned())),
        op: Operator::EQ,
    });
    let carries = Statement::SNAT(Some(NAT {
        addr: Some(Expression::String(Cow::Owned(address.to_string()))),
        family: None,
        port: None,
        flags: None,
    }));
    batch.add(NfListObject::Rule(Rule {
        family: NfFamily::IP,
        table: Cow::Borrowed(TABLE),
        chain: Cow::Borrowed(CHAIN),
        expr: Cow::Owned(vec![leaves_by, carries]),
        ..Rule::default()
    }));
    apply_ruleset(&batch.to_nftables()).map_err(|source| Error::Apply {
        interface: interface.to_owned(),
        address,
        source: Box::new(source),
    })
}
