//! What people have balancers do, and what these say of it.

use cucumber::{then, when};
use serde_json::Value;

use super::traffic::ask_from;
use crate::cast::{Node, Target};
use crate::world::{Said, World};

/// Runs `labctl balancer` about this scenario's lab.
fn tell(world: &mut World, words: &[&str]) -> Result<Said, String> {
    let lab = world.lab()?;
    let mut all = vec!["balancer"];
    all.extend(words);
    all.extend(["--lab", lab.name().as_str()]);
    world.run(&all)
}

#[when(regex = r"^the balancers are told to (.*)$")]
fn told(world: &mut World, words: String) -> Result<(), String> {
    tell(world, &words.split_whitespace().collect::<Vec<_>>()).map(drop)
}

/// What every balancer that says something lists, by node.
fn listings(world: &mut World) -> Result<serde_json::Map<String, Value>, String> {
    let said = tell(world, &["list", "--connections", "--format", "json"])?;
    let mut all: Value = serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))?;
    match all["directors"].take() {
        Value::Object(directors) => {
            let heard = directors.into_iter();
            Ok(heard.filter_map(|(node, mut says)| Some((node, says.get_mut("listing")?.take()))).collect())
        }
        other => Err(format!("no directors: {other}")),
    }
}

#[then(regex = r"^(proxy\d) says that it balances by (.*)$")]
fn balances_by(world: &mut World, node: String, backend: String) -> Result<(), String> {
    let all = listings(world)?;
    match all.get(&node) {
        Some(listing) if listing["backend"] == backend && listing["because"] != "" => Ok(()),
        _ => Err(format!("{all:?}")),
    }
}

fn real<'a>(listing: &'a Value, name: &str) -> Option<&'a Value> {
    listing["services"][0]["reals"].as_array()?.iter().find(|real| real["name"] == name)
}

/// The web that has the open connection.
fn web_of_connection(world: &World) -> Result<String, String> {
    world.visitor.as_ref().map(|(_, by)| by.clone()).ok_or_else(|| "nobody has a connection".to_owned())
}

#[when("the web of that connection is drained")]
fn drained(world: &mut World) -> Result<(), String> {
    let web = web_of_connection(world)?;
    tell(world, &["drain", "web", &web]).map(drop)
}

#[then(regex = r"^draining the web once more, and waiting, ends with (\d+)$")]
fn drained_empty(world: &mut World, code: i32) -> Result<(), String> {
    let web = world.victim.clone().ok_or("nobody hung up")?;
    let said = tell(world, &["drain", "web", web.as_str(), "--wait", "--timeout", "20s"])?;
    if said.code == code { Ok(()) } else { Err(format!("{said:?}")) }
}

#[when("the client hangs up")]
fn hangs_up(world: &mut World) -> Result<(), String> {
    let (visitor, web) = world.visitor.take().ok_or("nobody has a connection")?;
    drop(visitor);
    world.victim = Some(web.parse().map_err(|error| format!("{error}"))?);
    Ok(())
}

#[then("new connections are answered by the other web only")]
fn by_other(world: &mut World) -> Result<(), String> {
    let web = web_of_connection(world)?;
    let answered = ask_from(world, (10..30).map(|host| format!("198.51.100.{host}")))?;
    if answered.len() == 1 && !answered.contains_key(&web) { Ok(()) } else { Err(format!("{answered:?}")) }
}

#[then(regex = r"^web1 answered (\d+) times and web2 (\d+) times$")]
fn counted(world: &mut World, web1: u64, web2: u64) -> Result<(), String> {
    let answered = |web: &str| world.counted.get(web).copied().unwrap_or_default();
    if (answered("web1"), answered("web2")) == (web1, web2) {
        Ok(())
    } else {
        Err(format!("{:?}", world.counted))
    }
}

#[then("web1 answered less often than web2")]
fn less_often(world: &mut World) -> Result<(), String> {
    let answered = |web: &str| world.counted.get(web).copied().unwrap_or_default();
    if (1..answered("web2")).contains(&answered("web1")) {
        Ok(())
    } else {
        Err(format!("{:?}", world.counted))
    }
}

/// Waits until these directors, of whom there must be one at least, list a real server in a way.
fn eventually_lists(
    world: &mut World,
    node: Option<&str>,
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    world.eventually(what, |world| {
        let mut all = listings(world)?;
        all.retain(|name, _| node.is_none_or(|node| node == name));
        let wanted = if node.is_some() { 1 } else { 2 };
        if all.len() == wanted && all.values().all(&is_so) { Ok(()) } else { Err(format!("{all:?}")) }
    })
}

fn is(real: &Value, state: &str) -> bool {
    match state {
        "down" => real["up"] == false,
        "warming up" => real["up"] == true && real["warming"] == true,
        _ => real["up"] == true,
    }
}

#[then(regex = r"^every balancer lists (\S+) as (up|down|warming up)$")]
fn all_list(world: &mut World, web: String, state: String) -> Result<(), String> {
    let is_so = |listing: &Value| real(listing, &web).is_some_and(|real| is(real, &state));
    eventually_lists(world, None, "that state", is_so)
}

#[then(regex = r"^(proxy\d) lists (\S+) as (up|down|warming up)$")]
fn one_lists(world: &mut World, node: String, web: String, state: String) -> Result<(), String> {
    let is_so = |listing: &Value| real(listing, &web).is_some_and(|real| is(real, &state));
    eventually_lists(world, Some(&node), "that state", is_so)
}

#[then(regex = r"^(proxy\d) lists web as open to all$")]
fn lists_open(world: &mut World, node: String) -> Result<(), String> {
    let is_so = |listing: &Value| listing["services"][0]["fail_open"] == true;
    eventually_lists(world, Some(&node), "fail open", is_so)
}

#[then(regex = r"^every balancer lists (\S+) with weight (\d+)$")]
fn all_weigh(world: &mut World, web: String, weight: u64) -> Result<(), String> {
    let is_so = |listing: &Value| real(listing, &web).is_some_and(|real| real["weight"] == weight);
    eventually_lists(world, None, "that weight", is_so)
}

#[then(regex = r"^(proxy\d) counts as many connections as were answered$")]
fn counts(world: &mut World, node: String) -> Result<(), String> {
    let answered = world.counted.clone();
    let is_so = move |listing: &Value| {
        answered.iter().all(|(web, count)| {
            real(listing, web).is_some_and(|real| {
                let packets = |key: &str| real[key].as_u64().unwrap_or_default();
                real["connections"] == *count
                    && packets("packets_in") > *count
                    && packets("packets_out") > *count
            })
        })
    };
    eventually_lists(world, Some(&node), "as many connections", is_so)
}

#[when("every balancer knows that connection")]
fn knows(world: &mut World) -> Result<(), String> {
    let web = web_of_connection(world)?;
    let is_so = move |listing: &Value| {
        let Some(address) = real(listing, &web).map(|real| &real["address"]) else { return false };
        let shown = listing["connections"]["shown"].as_array();
        shown.is_some_and(|shown| shown.iter().any(|one| one["real"] == *address))
    };
    eventually_lists(world, None, "that connection", is_so)
}

#[then(expr = "{node} gets no connection to {target}")]
fn no_connection(world: &mut World, node: Node, target: Target) -> Result<(), String> {
    let said = world.run_in_lab("reach", &["--from", node.0.as_str(), "--format", "json", &target.0])?;
    if said.code == 1 { Ok(()) } else { Err(format!("{said:?}")) }
}
