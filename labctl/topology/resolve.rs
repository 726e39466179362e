//! From a typed file to a site: names are found, defaults filled in, contradictions refused, each part by its own
//! module in the order in which they depend on each other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::addresses::{Family, v4, v6};
use super::balancer::{Site, balancer};
use super::engines::check_engines;
use super::failover::election;
use super::file::File;
use super::gateways::gateways;
use super::methods::kept_port;
use super::networks::{Book, Networks};
use super::nodes::Machines;
use super::peers::peers;
use super::problem::{Problem, ProblemKind, Problems};
use super::services::{is_colocated, limits, services};
use super::site::{Conversation, Memory, Node, Role, Topology};
use super::stores::check_store;

/// Port of the web application of a file that names none: not 80, since the balancer's port is another than the webs'.
const WEB_PORT_DEFAULT: u16 = 8080;
/// Port of the database of a file that names none.
const DB_PORT_DEFAULT: u16 = 7000;

/// The topology. If there are problems, what is returned may be incomplete, and nobody may use it.
pub(super) fn topology(file: &File, problems: &mut Problems) -> Option<Topology> {
    let networks = Networks::new(&file.networks, problems);
    let mut book = Book::new(mentioned(file));
    let machines = Machines::new(file, networks, &mut book, problems);
    let election = election(file, &machines, &mut book, problems);
    check_engines(file, &machines, election.as_ref(), problems);
    let gateways = Family::BOTH.map(|family| gateways(family, file, &machines, election.as_ref(), problems));
    let conversation = conversation(file, &machines, problems);
    let site = Site {
        machines: &machines,
        election: election.as_ref(),
        conversation: &conversation,
        gateways: &gateways,
    };
    let balancer = balancer(file, &site, problems);
    let [gateways, gateways6] = gateways;
    let mut nodes = Vec::with_capacity(machines.nodes.len());
    for (draft, (gateway, gateway6)) in machines.nodes.iter().zip(gateways.into_iter().zip(gateways6)) {
        let services = services(file, &conversation, draft, problems);
        nodes.extend(draft.role.map(|role| Node {
            name: draft.name.value.clone(),
            role,
            interfaces: draft.interfaces.clone(),
            gateway: gateway.and_then(v4),
            gateway6: gateway6.and_then(v6),
            services,
            limits: limits(draft),
        }));
    }
    Some(Topology {
        name: file.name.value()?.clone(),
        networks: machines.networks.prefixes(),
        networks6: machines.networks.prefixes6(),
        nodes,
        failover: election.and_then(|election| election.failover),
        balancer,
        conversation,
    })
}

/// Every address of the file.
fn mentioned(file: &File) -> BTreeSet<IpAddr> {
    let nodes = file.nodes.value().into_iter().flat_map(|map| &map.entries);
    let on = nodes.filter_map(|(_, node)| node.value()?.on.value()).flat_map(|map| &map.entries);
    let own = on.filter_map(|(_, addresses)| addresses.value());
    let own = own.flat_map(|several| several.values()).flat_map(|addresses| addresses.list());
    let failover = file.failover.value();
    let more = failover.and_then(|failover| failover.more.value()).into_iter().flat_map(|map| &map.entries);
    let more = more.filter_map(|(_, router)| router.value()?.vip.value());
    let vips = failover.and_then(|failover| failover.vip.value()).into_iter().chain(more);
    let floating = vips.flat_map(|map| &map.entries).filter_map(|(_, addresses)| addresses.value());
    own.chain(floating.flat_map(|several| several.values()).map(|address| address.0)).collect()
}

fn conversation(file: &File, machines: &Machines<'_>, problems: &mut Problems) -> Conversation {
    let given = file.conversation.value();
    let memory = given.and_then(|given| given.memory.given());
    let colocated = file.placement.given().filter(|_| is_colocated(file));
    if let Some(placement) = colocated.filter(|_| machines.lacks(Role::Web)) {
        let problem = Problem::new(ProblemKind::NothingToColocate, &placement.span);
        problems.push(problem.help("add nodes of role web, or remove `placement`"));
    }
    let has_db = colocated.is_some() || machines.of(Role::Db).next().is_some();
    let kept = match memory {
        Some(memory) => memory.value.0,
        None if has_db => Memory::Database,
        None => Memory::None,
    };
    let conversation = Conversation {
        memory: kept,
        engine: given.and_then(|given| given.engine.value()).map(|engine| engine.0).unwrap_or_default(),
        web_port: given
            .and_then(|given| given.web_port.value())
            .map(|port| port.0)
            .or_else(|| kept_port(file))
            .unwrap_or(WEB_PORT_DEFAULT),
        db_port: given.and_then(|given| given.db_port.value()).map_or(DB_PORT_DEFAULT, |port| port.0),
        peers: peers(given, kept, machines, problems),
    };
    if conversation.memory == Memory::Database {
        if let Some(memory) = memory.filter(|_| machines.lacks(Role::Db) && colocated.is_none()) {
            let problem = Problem::new(ProblemKind::NoDatabase, &memory.span);
            problems.push(
                problem.help("add nodes of role db (three survive the loss of one), or `memory: none`"),
            );
        }
        check_reach(machines, colocated.is_some(), problems);
    }
    if let Some(given) = given {
        check_store(given, &conversation, machines, problems);
    }
    conversation
}

/// Every web node must reach every database: any of them may lead.
fn check_reach(machines: &Machines<'_>, colocated: bool, problems: &mut Problems) {
    for web in machines.of(Role::Web).filter(|web| web.whole) {
        let others = machines.of(Role::Web).filter(|other| colocated && other.name.value != web.name.value);
        let mut dbs = machines.of(Role::Db).chain(others).filter(|db| db.whole);
        if let Some(db) = dbs.find(|db| web.reaches(db).is_none()) {
            let kind = ProblemKind::WebOffDatabase(web.name.value.clone(), db.name.value.clone());
            let problem = Problem::new(kind, &web.name.span).help("give both an address on one network");
            problems.push(problem.also(&db.name.span, "the database"));
        }
    }
}
