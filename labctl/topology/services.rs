//! What runs on a node: the services of its role, changed by what the file says.

use std::collections::{BTreeMap, BTreeSet};

use super::checks::check_program;
use super::engines::engine_of;
use super::file::{File, FileNode, FileService, ServiceChange};
use super::names::ServiceName;
use super::nodes::Draft;
use super::problem::{Problem, ProblemKind, Problems, Span, did_you_mean};
use super::read::{At, Slot};
use super::site::{Builtin, Conversation, Limits, Placement, Protocol, Restart, Role, Run, Service};

/// Port of the server that tells callers their address: that of HTTP, since it stands for any site of the world.
const WHOAMI_PORT: u16 = 80;

/// The services of one node.
pub(super) fn services(
    file: &File,
    conversation: &Conversation,
    node: &Draft<'_>,
    problems: &mut Problems,
) -> Vec<Service> {
    let restart = node.file.and_then(|file| file.restart.value()).map(|choice| choice.0).unwrap_or_default();
    let mut services = of_role(file, conversation, node, restart);
    let changes = node.file.and_then(|file: &FileNode| file.services.value());
    let mut spans: BTreeMap<&ServiceName, &Span> = BTreeMap::new();
    for (name, slot) in changes.iter().flat_map(|changes| &changes.entries) {
        let Some(change) = slot.given() else { continue };
        spans.insert(&name.value, &name.span);
        if let ServiceChange::Set(FileService { run: Slot::Given(run), .. }) = &change.value {
            check_program(&words(&run.value), run, problems);
        }
        let position = services.iter().position(|service| service.name == name.value);
        match (&change.value, position) {
            (ServiceChange::Off(_), Some(position)) => drop(services.remove(position)),
            (ServiceChange::Off(_), None) => {
                if node.role.is_some() {
                    let kind = ProblemKind::UnknownService(name.value.clone(), node.name.value.clone());
                    let known = services.iter().map(|service| service.name.as_str());
                    let help = did_you_mean(name.value.as_str(), known);
                    problems.push(Problem::new(kind, &name.span).maybe(help));
                }
            }
            (ServiceChange::Set(set), Some(position)) => apply(set, &mut services[position]),
            (ServiceChange::Set(set), None) => match set.run.is_absent() {
                true if node.role.is_some() => problems.push(without_program(name)),
                _ => services.push(added(name, set, restart)),
            },
        }
    }
    check_ports(&services, &spans, node, problems);
    services
}

/// Does every web of this file run a database as well?
pub(super) fn is_colocated(file: &File) -> bool {
    file.placement.value().is_some_and(|placement| placement.0 == Placement::Colocated)
}

/// What a node may use.
pub(super) fn limits(node: &Draft<'_>) -> Limits {
    let Some(file) = node.file else { return Limits::default() };
    Limits {
        cpu_hundredths: file.cpu.value().map(|cpu| cpu.0),
        memory_bytes: file.memory.value().map(|size| size.0),
        disk_bytes: file.disk.value().map(|size| size.0),
    }
}

fn of_role(file: &File, conversation: &Conversation, node: &Draft<'_>, restart: Restart) -> Vec<Service> {
    let databases = || conversation.engine.services(conversation.db_port);
    let mut builtins: Vec<(Builtin, Vec<u16>)> = match node.role {
        Some(Role::Proxy) => {
            let elects = !file.failover.is_absent();
            let balances = !file.balancer.is_absent();
            let given = file.balancer.value().and_then(|balancer| balancer.engine.value());
            let director = given.map(|choice| choice.0).unwrap_or_default().service();
            let both = [
                (engine_of(file, node).service(), Vec::new(), elects),
                (director, proxied(file, director), balances),
            ];
            let wanted = both.into_iter().filter(|(.., wanted)| *wanted);
            wanted.map(|(builtin, listen, _)| (builtin, listen)).collect()
        }
        Some(Role::Web) => {
            // The first listens for the second.
            let first = conversation.peers.as_ref().filter(|peers| peers.webs[0] == node.name.value);
            let peer_port = first.map(|peers| peers.port);
            let web = (Builtin::Web, [conversation.web_port].into_iter().chain(peer_port).collect());
            let beside = if is_colocated(file) { databases() } else { Vec::new() };
            std::iter::once(web).chain(beside).collect()
        }
        Some(Role::Db) => databases(),
        Some(Role::Remote) => vec![(Builtin::Whoami, vec![WHOAMI_PORT])],
        Some(Role::Client | Role::Router) | None => Vec::new(),
    };
    if let Some(peers) = conversation.peers.as_ref().filter(|peers| peers.witness == node.name.value) {
        builtins.push((Builtin::Witness, vec![peers.witness_port]));
    }
    let service = |(builtin, listen): (Builtin, Vec<u16>)| Service {
        name: builtin.into(),
        run: Run::Builtin(builtin),
        listen,
        restart,
    };
    builtins.into_iter().map(service).collect()
}

/// The ports that a program of others accepts connections on in the place of our director, so that it is ready when it does.
fn proxied(file: &File, director: Builtin) -> Vec<u16> {
    if !matches!(director, Builtin::Haproxy | Builtin::Nginx) {
        return Vec::new();
    }
    let services = file.balancer.value().and_then(|balancer| balancer.services.value());
    let given = services.into_iter().flat_map(|services| &services.entries);
    let tcp = given
        .filter_map(|(_, slot)| slot.value())
        .filter(|service| service.protocol.value().is_none_or(|protocol| protocol.0 == Protocol::Tcp));
    let ports: BTreeSet<u16> = tcp.filter_map(|service| Some(service.port.value()?.0)).collect();
    ports.into_iter().collect()
}

fn apply(set: &FileService, service: &mut Service) {
    if let Some(run) = set.run.value() {
        service.run = command(run);
    }
    if let Some(listen) = set.listen.value() {
        service.listen = listen.iter().map(|port| port.value.0).collect();
    }
    if let Some(restart) = set.restart.value() {
        service.restart = restart.0;
    }
}

fn added(name: &At<ServiceName>, set: &FileService, restart: Restart) -> Service {
    let mut service =
        Service { name: name.value.clone(), run: Run::Command(Vec::new()), listen: Vec::new(), restart };
    apply(set, &mut service);
    service
}

fn command(run: &[At<super::scalars::Argument>]) -> Run {
    Run::Command(words(run))
}

fn words(run: &[At<super::scalars::Argument>]) -> Vec<String> {
    run.iter().map(|argument| argument.value.0.clone()).collect()
}

fn without_program(name: &At<ServiceName>) -> Problem {
    let kind = ProblemKind::MissingKey("run", format!("service {}", name.value));
    Problem::new(kind, &name.span).help("add the program: `run: [\"/usr/bin/python3\", \"server.py\"]`")
}

fn check_ports(
    services: &[Service],
    spans: &BTreeMap<&ServiceName, &Span>,
    node: &Draft<'_>,
    problems: &mut Problems,
) {
    let mut first: BTreeMap<u16, &ServiceName> = BTreeMap::new();
    for service in services {
        let span = |name| spans.get(name).copied().unwrap_or(&node.name.span);
        for &port in &service.listen {
            let Some(before) = first.insert(port, &service.name) else { continue };
            let kind = ProblemKind::DuplicatePort(port, before.clone());
            let problem = Problem::new(kind, span(&service.name)).help("give one of them another port");
            problems.push(problem.also(span(before), format!("service {before}")));
        }
    }
}
