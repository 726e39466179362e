//! Breaking things, and mending them.

use cucumber::{given, then, when};
use labctl::holder::protocol::NodeStatus;
use labctl::report::{Cable, What};
use labctl::roles::init::Order;
use labctl::topology::{NodeName, Role, ServiceName};
use nix::sys::signal::Signal;

use crate::cast::{Death, Node, Target};
use crate::visit::Visitor;
use crate::world::World;

/// The daemon whose end is the end of a node's work.
fn main_service(node: &NodeStatus) -> Result<ServiceName, String> {
    let words: &[&str] = match node.role {
        Role::Proxy => &["vrrpd", "keepalived", "frr"],
        Role::Web => &["web"],
        Role::Db => &["db", "patroni", "etcd", "redis"],
        Role::Client | Role::Router | Role::Remote => &["whoami"],
    };
    // In the order of the words: PostgreSQL has etcd beside it.
    let runs = |word: &&str| node.services.keys().find(|service| service.as_str() == *word);
    words.iter().find_map(runs).cloned().ok_or_else(|| format!("{} runs none of {words:?}", node.name))
}

fn die(world: &mut World, node: &NodeName, death: Death) -> Result<(), String> {
    let lab = world.lab()?;
    world.victim = Some(node.clone());
    let done = match death {
        Death::Killed => lab.kill(node),
        Death::PoweredOff => lab.power_off(node),
        Death::Stopped => {
            let service = main_service(world.status()?.node(node).ok_or("no such node")?)?;
            lab.order(node, Order::Stop { service })
        }
    };
    done.map_err(|error| error.to_string())
}

#[when(expr = "{node} is {death}")]
fn node_dies(world: &mut World, node: Node, death: Death) -> Result<(), String> {
    die(world, &node.0, death)
}

#[when(expr = "the web that answered is {death}")]
fn web_dies(world: &mut World, death: Death) -> Result<(), String> {
    let web = world.talk.as_ref().and_then(|talk| talk.served_by.clone()).ok_or("nobody answered yet")?;
    die(world, &web, death)
}

#[when(expr = "the database leader is {death}")]
fn leader_dies(world: &mut World, death: Death) -> Result<(), String> {
    let leader = world.status()?.raft_leader.ok_or("there is no leader")?;
    die(world, &leader, death)
}

#[when(expr = "a database that follows is {death}")]
fn follower_dies(world: &mut World, death: Death) -> Result<(), String> {
    let status = world.status()?;
    let leader = status.raft_leader.clone().ok_or("there is no leader")?;
    let mut databases = status.nodes.iter().filter(|node| node.role == Role::Db);
    let follower = databases.find(|node| node.name != leader).ok_or("there is no follower")?.name.clone();
    die(world, &follower, death)
}

#[when("it comes back")]
#[given("it comes back")]
fn comes_back(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing died")?;
    let lab = world.lab()?;
    let status = world.status()?;
    let node = status.node(&victim).ok_or("no such node")?;
    if node.pid.is_none() {
        return lab.power_on(&victim).map_err(|error| error.to_string());
    }
    let service = main_service(node)?;
    // A daemon that was told to end may still be about it.
    world.eventually("its daemon can be started", |_| {
        lab.order(&victim, Order::Start { service: service.clone() }).map_err(|error| error.to_string())
    })
}

#[then("the databases follow another leader")]
fn another_leader(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing died")?;
    world.eventually("another leader", |world| match world.status()?.raft_leader {
        Some(leader) if leader != victim => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

/// What the balancer on the holder of the VIP last said of a real server.
fn is_in(world: &World, real: &NodeName) -> Result<Option<bool>, String> {
    let lab = world.lab()?;
    let holders = world.status()?.vip_holders;
    let [holder] = holders.as_slice() else { return Err(format!("held by {holders:?}")) };
    let events = lab.events(false).map_err(|error| error.to_string())?;
    let mut last = None;
    for event in events.filter(|event| event.node.as_deref() == Some(holder.as_str())) {
        match event.what {
            What::RealUp { real: name, .. } if name == real.as_str() => last = Some(true),
            What::RealDown { real: name, .. } if name == real.as_str() => last = Some(false),
            _ => {}
        }
    }
    Ok(last)
}

#[then(regex = r"^the balancer takes it (out|back)$")]
fn taken(world: &mut World, direction: String) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing died")?;
    let wanted = direction == "back";
    world.eventually("the balancer takes it there", |world| match is_in(world, &victim)? {
        Some(is) if is == wanted => Ok(()),
        other => Err(format!("it last said {other:?}")),
    })
}

#[when(expr = "{node} hangs")]
fn hangs(world: &mut World, node: Node) -> Result<(), String> {
    world.victim = Some(node.0.clone());
    signal_main(world, &node.0, Signal::SIGSTOP)
}

#[when("the database leader hangs")]
fn leader_hangs(world: &mut World) -> Result<(), String> {
    let leader = world.status()?.raft_leader.ok_or("there is no leader")?;
    world.victim = Some(leader.clone());
    signal_main(world, &leader, Signal::SIGSTOP)
}

#[when("the one that hangs goes on")]
fn it_goes_on(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing hangs")?;
    signal_main(world, &victim, Signal::SIGCONT)
}

#[when(expr = "{node} goes on")]
fn goes_on(world: &mut World, node: Node) -> Result<(), String> {
    signal_main(world, &node.0, Signal::SIGCONT)
}

fn signal_main(world: &World, node: &NodeName, signal: Signal) -> Result<(), String> {
    let service = main_service(world.status()?.node(node).ok_or("no such node")?)?;
    let order = Order::Signal { service, signal: signal as i32 };
    world.lab()?.order(node, order).map_err(|error| error.to_string())
}

#[when(regex = r"^the service (\S+) of (\S+) gets (SIG[A-Z0-9]+)$")]
fn service_gets(world: &mut World, service: String, node: String, signal: String) -> Result<(), String> {
    let target = format!("{node}/{service}");
    let said = world.run_in_lab("kill", &[&target, "--signal", &signal])?;
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}

/// The carrier stays: neither side's kernel notices.
#[when(regex = r"^(\S+) is cut off from (\S+) with its link up$")]
fn cut_off(world: &mut World, node: String, network: String) -> Result<(), String> {
    cable(world, &node, &network, Cable::Partition)
}

#[when(regex = r"^(\S+) is joined to (\S+) again$")]
fn joined(world: &mut World, node: String, network: String) -> Result<(), String> {
    cable(world, &node, &network, Cable::Heal)
}

fn cable(world: &mut World, node: &str, network: &str, becomes: Cable) -> Result<(), String> {
    let node = node.parse().map_err(|error| format!("{error}"))?;
    let network = network.parse().map_err(|error| format!("{error}"))?;
    world.lab()?.cable(&node, &network, becomes).map_err(|error| error.to_string())
}

#[then(regex = r"^what differs from the plan is that it would (.*)$")]
fn drift(world: &mut World, only: String) -> Result<(), String> {
    let drift = world.status()?.drift;
    if drift == [only] { Ok(()) } else { Err(format!("would {}", drift.join(", "))) }
}

#[when(expr = "the link {word} of {node} goes {word}")]
fn link_goes(world: &mut World, interface: String, node: Node, direction: String) -> Result<(), String> {
    Visitor::send_and_wait(&world.lab()?, &node.0, &[&direction, &interface])
}

#[when(expr = "somebody deletes {word} from {word} of {node}")]
fn somebody_deletes(world: &mut World, address: String, interface: String, node: Node) -> Result<(), String> {
    Visitor::send_and_wait(&world.lab()?, &node.0, &["delete", &address, &interface])
}

#[when(
    expr = "the balancer of {node} is killed, a client that knocks at {target} all the time is never refused"
)]
fn killed_under_knocks(world: &mut World, node: Node, target: Target) -> Result<(), String> {
    let lab = world.lab()?;
    let client: NodeName = "client".parse().map_err(|error| format!("{error}"))?;
    let mut knocking = Visitor::send(&lab, &client, &["knock", &target.0])?;
    let first = knocking.hears()?;
    if first != "answered" {
        return Err(first);
    }
    let service = "balancer".parse().map_err(|error| format!("{error}"))?;
    let order = Order::Signal { service, signal: Signal::SIGKILL as i32 };
    lab.order(&node.0, order).map_err(|error| error.to_string())?;
    match knocking.hears()?.as_str() {
        "done" => Ok(()),
        other => Err(other.to_owned()),
    }
}
