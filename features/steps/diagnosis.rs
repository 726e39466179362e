//! Why it is as it is, and what is wrong.

use cucumber::{then, when};
use labctl::report::What;
use labctl::roles::init::Order;
use labctl::topology::{Checksum, Failover, Topology, Vrid, VrrpVersion};

use crate::cast::Node;
use crate::forge;
use crate::world::{Said, World, labctl, with_input};

fn explain(world: &mut World, node: &Node) -> Result<Said, String> {
    world.run_in_lab("explain", &[node.0.as_str()])
}

fn examine(world: &mut World) -> Result<Said, String> {
    world.run_in_lab("doctor", &[])
}

#[when(expr = "I ask why {node} is as it is")]
fn ask_why(world: &mut World, node: Node) -> Result<(), String> {
    explain(world, &node).map(drop)
}

#[when("I have the lab examined")]
fn have_examined(world: &mut World) -> Result<(), String> {
    examine(world).map(drop)
}

#[then(expr = "{node} comes to say why with {string}")]
fn comes_to_say(world: &mut World, node: Node, words: String) -> Result<(), String> {
    world.eventually("it says so", |world| {
        let said = explain(world, &node)?;
        if said.stdout.contains(&words) { Ok(()) } else { Err(format!("{}{}", said.stdout, said.stderr)) }
    })
}

#[then(expr = "the doctor comes to name {string}")]
fn comes_to_name(world: &mut World, words: String) -> Result<(), String> {
    world.eventually("it is named", |world| {
        let said = examine(world)?;
        if said.stdout.contains(&words) { Ok(()) } else { Err(format!("{}{}", said.stdout, said.stderr)) }
    })
}

#[then("the doctor comes to find nothing wrong with the lab")]
fn finds_nothing(world: &mut World) -> Result<(), String> {
    let lab = world.lab()?.name().to_string();
    // About the machine it may say what it likes: other labs may crowd it.
    comes_to_name(world, format!("lab {lab}: nothing found"))
}

#[when(regex = r#"^somebody runs "(.*)" on (\S+)$"#)]
fn somebody_runs(world: &mut World, command: String, node: String) -> Result<(), String> {
    let words: Vec<&str> = [node.as_str(), "--"].into_iter().chain(command.split(' ')).collect();
    let said = world.run_in_lab("exec", &words)?;
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}

/// Every command that the last examination told, as somebody would copy it.
#[when("I do as the doctor says")]
fn do_as_told(world: &mut World) -> Result<(), String> {
    let said = world.said.clone().ok_or("nobody was examined")?.stdout;
    let told = said.lines().filter_map(|line| line.trim().strip_prefix("next:"));
    let commands: Vec<&str> =
        told.filter_map(|next| next.trim().strip_prefix("`labctl exec ")?.strip_suffix('`')).collect();
    if commands.is_empty() {
        return Err(format!("no command was told: {said}"));
    }
    for command in commands {
        let done = world.run_in_lab("exec", &command.split(' ').collect::<Vec<_>>())?;
        if done.code != 0 {
            return Err(format!("labctl exec {command}: {}", done.stderr));
        }
    }
    Ok(())
}

/// The daemon of a node is replaced by one that was given another site.
#[when(regex = r"^(\S+) runs with (.*)$")]
fn runs_with(world: &mut World, node: String, setting: String) -> Result<(), String> {
    let lab = world.lab()?;
    let name = node.parse().map_err(|error| format!("{error}"))?;
    let service = "vrrpd".parse().map_err(|error| format!("{error}"))?;
    lab.order(&name, Order::Stop { service }).map_err(|error| error.to_string())?;
    world.eventually("its daemon has stopped", |world| {
        let status = world.status()?;
        let services = status.node(&name).map(|node| &node.services);
        let runs = services.is_some_and(|all| all.values().any(|one| one.running && one.says.is_some()));
        if runs { Err(format!("{services:?}")) } else { Ok(()) }
    })?;
    let mut topology = lab.topology().map_err(|error| error.to_string())?;
    change(&mut topology, &node, &setting)?;
    let site = serde_json::to_string(&topology).map_err(|error| error.to_string())?;
    let program = labctl().get_program().to_string_lossy().into_owned();
    // It outlives the command, and ends with the lab.
    let script = format!(
        "cat > /tmp/site.json; {program} __role vrrpd --node {node} --site /tmp/site.json >/tmp/log 2>&1 </dev/null &"
    );
    let mut exec = labctl();
    exec.args(["exec", "--lab", lab.name().as_str(), &node, "--", "/bin/sh", "-c", &script]);
    let said = Said::from(with_input(exec, &site)?);
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}

fn change(topology: &mut Topology, node: &str, setting: &str) -> Result<(), String> {
    let failover: &mut Failover = topology.failover.as_mut().ok_or("nothing floats here")?;
    let (first, rest) = setting.split_once(' ').ok_or("a setting and its value")?;
    let number = || rest.parse::<u8>().map_err(|_| format!("{rest:?} is no number"));
    match (first, rest) {
        ("VRID", _) => {
            failover.vrid = Vrid::try_from(i64::from(number()?)).map_err(|error| error.to_string())?
        }
        ("interval", "200 ms") => failover.advert_interval *= 2,
        ("version", "2") => {
            failover.version = VrrpVersion::V2;
            failover.advert_interval = Failover::ADVERT_DEFAULT;
        }
        ("one", "address") => failover.addresses.truncate(1),
        ("other", "checksum") => failover.checksum = Checksum::PseudoHeader,
        ("priority", _) => {
            let name = node.parse().map_err(|error| format!("{error}"))?;
            failover.priorities.insert(name, number()?);
        }
        _ => return Err(format!("nobody knows how to run with {setting:?}")),
    }
    Ok(())
}

#[when(regex = r"^(\S+) sends adverts with (.*)$")]
fn sends(world: &mut World, node: String, flaw: String) -> Result<(), String> {
    let lab = world.lab()?;
    let topology = lab.topology().map_err(|error| error.to_string())?;
    let name = node.parse().map_err(|error| format!("{error}"))?;
    let network = &topology.failover.as_ref().ok_or("nothing floats here")?.network;
    let own = topology.node(&name).and_then(|node| node.address_on(network)).ok_or("it has no address")?;
    for member in topology.failover.iter().flat_map(|failover| failover.priorities.keys()) {
        let before = roles(world, member.as_str())?.len() as u64;
        world.counted.insert(member.to_string(), before);
    }
    forge::send(&lab, &name, network.as_str(), own, &flaw)
}

#[then(expr = "{node} has not changed its role since")]
fn has_not_changed(world: &mut World, node: Node) -> Result<(), String> {
    let roles = roles(world, node.0.as_str())?;
    let before = world.counted.get(node.0.as_str()).copied().ok_or("nothing was sent yet")?;
    if roles.len() as u64 == before { Ok(()) } else { Err(format!("it changed its role: {roles:?}")) }
}

/// Every change of a node's role so far.
fn roles(world: &World, node: &str) -> Result<Vec<String>, String> {
    let events = world.lab()?.events(false).map_err(|error| error.to_string())?;
    let roles =
        events.filter(|event| event.node.as_deref() == Some(node)).filter_map(|event| match event.what {
            What::VrrpState { from, to, because, .. } => Some(format!("{from} -> {to}, because {because}")),
            _ => None,
        });
    Ok(roles.collect())
}
