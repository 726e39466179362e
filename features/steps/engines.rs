//! Databases that others wrote: half of a site cut off from the other half, and what the checker says of it afterwards.

use std::io::Write as _;

use cucumber::{then, when};
use labctl::kernel::clock;
use labctl::topology::{NodeName, Role};
use serde_json::{Value, json};

use super::conversation::{Talk, VIP, talk, try_to_say};
use super::traffic::fetch;
use crate::world::{Said, World, labctl};

/// The cables of a lab are cut one by one; for two nodes that still hear each other, each of them is made deaf to the others.
const TABLE: &str = "inet apart";

fn on_node(world: &mut World, node: &NodeName, line: &str) -> Result<(), String> {
    let said = world.run_in_lab("exec", &[node.as_str(), "--", "nft", line])?;
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}

/// The leader and the web of the conversation, and the addresses of all other webs and databases.
fn halves(world: &World) -> Result<([NodeName; 2], Vec<String>), String> {
    let status = world.status()?;
    let leader = status.raft_leader.clone().ok_or("there is no leader")?;
    let web = world.talk.as_ref().and_then(|talk| talk.served_by.clone()).ok_or("nobody answered yet")?;
    let others = status.nodes.iter().filter(|node| matches!(node.role, Role::Web | Role::Db));
    let others = others.filter(|node| node.name != leader && node.name != web);
    let on_data = others.flat_map(|node| &node.addresses).filter(|(network, _)| network.as_str() == "data");
    let addresses = on_data.flat_map(|(_, addresses)| addresses).map(ToString::to_string).collect();
    Ok(([leader, web], addresses))
}

#[when("the database leader and the web that answered are cut off together")]
fn cut_off_together(world: &mut World) -> Result<(), String> {
    let (both, others) = halves(world)?;
    let rules = format!(
        "add table {TABLE}; add chain {TABLE} in {{ type filter hook input priority 0; }}; \
         add rule {TABLE} in ip saddr {{ {} }} drop",
        others.join(", ")
    );
    world.victim = Some(both[0].clone());
    world.counted.insert("cut off".to_owned(), clock::monotonic_ns());
    both.iter().try_for_each(|node| on_node(world, node, &rules))?;
    world.cut = both.to_vec();
    Ok(())
}

#[when("both are joined to the others again")]
fn joined_again(world: &mut World) -> Result<(), String> {
    let both = std::mem::take(&mut world.cut);
    both.iter().try_for_each(|node| on_node(world, node, &format!("delete table {TABLE}")))?;
    let began_ns = world.counted.remove("cut off").ok_or("nothing was cut")?;
    let target = both.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let talk = world.talk.as_mut().ok_or("there is no conversation")?;
    talk.history.push(json!({
        "kind": "fault", "action": "cut off", "target": target,
        "began_ns": began_ns, "ended_ns": clock::monotonic_ns(), "seen": true,
    }));
    Ok(())
}

#[then("the site takes nothing more from the client")]
fn takes_nothing(world: &mut World) -> Result<(), String> {
    match try_to_say(world, "refused") {
        Err(answer) if answer.contains("databases-unavailable") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// What it was may count later, under the same key: nobody promised anything.
#[then("the site neither reads nor takes the next thing that the client will say")]
fn refuses_the_next(world: &mut World) -> Result<(), String> {
    let key = Talk::key(talk(world)?.acknowledged());
    match try_to_say(world, &key) {
        Err(answer) if answer.contains("databases-unavailable") => {}
        other => return Err(format!("{other:?}")),
    }
    let answer = fetch(world, "client", &format!("{VIP}/conversations/{}", talk(world)?.id()), &[])?;
    let to_come = !answer["headers"]["retry-after"].is_null();
    if answer["status"] == 503 && to_come { Ok(()) } else { Err(answer.to_string()) }
}

/// What each web remembers in the end, asked past the balancer.
fn transcripts(world: &mut World) -> Result<Vec<Value>, String> {
    let id = world.talk.as_ref().ok_or("there is no conversation")?.id().to_owned();
    ["web1", "web2"]
        .into_iter()
        .map(|web| {
            let began_ns = clock::monotonic_ns();
            let answer = fetch(world, "proxy1", &format!("http://{web}:8080/conversations/{id}"), &[])?;
            let body = answer["body"].as_str().unwrap_or_default();
            let body: Value = serde_json::from_str(body).map_err(|_| answer.to_string())?;
            let turns = body["turns"].as_array().ok_or_else(|| answer.to_string())?;
            let keys: Vec<&Value> = turns.iter().map(|turn| &turn["key"]).collect();
            Ok(json!({
                "kind": "transcript", "conversation": id, "web": web, "invoked_ns": began_ns,
                "completed_ns": clock::monotonic_ns(), "keys": keys,
            }))
        })
        .collect()
}

#[then(regex = r"^of the history of all this labctl check says that it (is consistent|lost turns)$")]
fn check(world: &mut World, verdict: String) -> Result<(), String> {
    let transcripts = transcripts(world)?;
    let talk = world.talk.as_ref().ok_or("there is no conversation")?;
    let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    for line in talk.history.iter().chain(&transcripts) {
        writeln!(file, "{line}").map_err(|error| error.to_string())?;
    }
    let output = labctl().arg("check").arg(file.path()).output().map_err(|error| error.to_string())?;
    let said = Said::from(output);
    let (code, words) = match verdict.as_str() {
        "is consistent" => (0, "consistent"),
        _ => (1, "does not have it"),
    };
    if said.code == code && said.stdout.contains(words) { Ok(()) } else { Err(format!("{said:?}")) }
}
