//! A conversation with the site: somebody on the street talks to one address and expects to be remembered.

use std::time::{Duration, Instant};

use cucumber::{given, then, when};
use labctl::topology::NodeName;
use serde_json::Value;

use super::traffic::fetch;
use crate::world::{WAIT_MAX, World};

pub const VIP: &str = "http://203.0.113.10";
/// The client's address: a source hash sends it to the same web every time.
const SOURCE: [&str; 2] = ["--source", "198.51.100.10"];
/// How long the site may take no turns when the leader of its databases dies.
const WRITES_GO_ON_WITHIN: Duration = Duration::from_secs(2);

/// What the client remembers.
#[derive(Debug)]
pub struct Talk {
    pub id: String,
    /// Keys of acknowledged turns, in order.
    pub acknowledged: Vec<String>,
    /// What the last acknowledgement is worth, in the site's own words.
    pub durability: String,
    /// Who answered last.
    pub served_by: Option<NodeName>,
    /// Who answered before that.
    before: Option<NodeName>,
}

impl Talk {
    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many turns were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The key of a turn.
    pub fn key(turn: usize) -> String {
        format!("turn-{turn}")
    }
}

fn served_by(answer: &Value) -> Option<NodeName> {
    answer["headers"]["x-served-by"].as_str()?.parse().ok()
}

fn durability(answer: &Value) -> String {
    answer["headers"]["x-lab-durability"].as_str().unwrap_or_default().to_owned()
}

fn begin(world: &mut World) -> Result<(), String> {
    let answer =
        fetch(world, "client", &format!("{VIP}/conversations"), &["-X", "POST", SOURCE[0], SOURCE[1]])?;
    if answer["status"] != 201 {
        return Err(answer.to_string());
    }
    let body: Value =
        serde_json::from_str(answer["body"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
    let id = body["id"].as_str().ok_or_else(|| body.to_string())?.to_owned();
    let durability = durability(&answer);
    world.talk =
        Some(Talk { id, acknowledged: vec![], durability, served_by: served_by(&answer), before: None });
    Ok(())
}

/// The conversation.
pub fn talk(world: &World) -> Result<&Talk, String> {
    world.talk.as_ref().ok_or_else(|| "there is no conversation".to_owned())
}

pub fn try_to_say(world: &mut World, key: &str) -> Result<(), String> {
    try_to_say_at(world, ("client", VIP, &SOURCE), key)
}

/// One attempt to say something; the same key means the same words. Who says it, to whom, and how it is asked.
pub fn try_to_say_at(
    world: &mut World,
    (from, base, how): (&str, &str, &[&str]),
    key: &str,
) -> Result<(), String> {
    let url = format!("{base}/conversations/{}/turns", talk(world)?.id);
    let data = format!(r#"{{"text":"words of {key}"}}"#);
    let header = format!("Idempotency-Key: {key}");
    let said = ["-X", "POST", "-H", &header, "-d", &data];
    let answer = fetch(world, from, &url, &[&said, how].concat())?;
    match answer["status"].as_u64() {
        Some(200 | 201) => {
            let talk = world.talk.as_mut().ok_or("there is no conversation")?;
            talk.acknowledged.push(key.to_owned());
            talk.durability = durability(&answer);
            talk.before = talk.served_by.take();
            talk.served_by = served_by(&answer);
            Ok(())
        }
        _ => Err(answer.to_string()),
    }
}

fn say(world: &mut World, count: usize) -> Result<(), String> {
    for _ in 0..count {
        let key = Talk::key(talk(world)?.acknowledged.len());
        world.eventually("the turn is acknowledged", |world| try_to_say(world, &key))?;
    }
    Ok(())
}

#[given(regex = r"^the client begins a conversation and says (\d+) things$")]
#[when(regex = r"^the client begins a conversation and says (\d+) things$")]
fn begins(world: &mut World, count: usize) -> Result<(), String> {
    world.eventually("the conversation begins", begin)?;
    say(world, count)
}

#[when(regex = r"^the client says (\d+) more things?$")]
fn says_more(world: &mut World, count: usize) -> Result<(), String> {
    say(world, count)
}

#[when("the client says one thing as soon as the site takes it")]
fn says_at_once(world: &mut World) -> Result<(), String> {
    let began = Instant::now();
    say(world, 1)?;
    let took = began.elapsed();
    if took <= WRITES_GO_ON_WITHIN { Ok(()) } else { Err(format!("it took {took:?}")) }
}

#[then("the other web answered")]
fn other_answered(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone();
    let talk = talk(world)?;
    match &talk.served_by {
        Some(web) if Some(web) != victim.as_ref() => Ok(()),
        _ => Err(format!("{talk:?}")),
    }
}

#[then("the site remembers all of it, in order")]
fn remembers(world: &mut World) -> Result<(), String> {
    let url = format!("{VIP}/conversations/{}", talk(world)?.id);
    let expected = talk(world)?.acknowledged.clone();
    if expected.is_empty() {
        return Err("nothing was said".to_owned());
    }
    world.eventually("the whole conversation", |world| {
        let answer = fetch(world, "client", &url, &SOURCE)?;
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())
            .map_err(|_| answer.to_string())?;
        let keys: Vec<&str> =
            body["turns"].as_array().into_iter().flatten().filter_map(|turn| turn["key"].as_str()).collect();
        if keys == expected { Ok(()) } else { Err(format!("it remembers {keys:?} of {expected:?}")) }
    })
}

#[then("the conversation is lost")]
fn is_lost(world: &mut World) -> Result<(), String> {
    let url = format!("{VIP}/conversations/{}", talk(world)?.id);
    let victim = world.victim.clone().ok_or("nothing died")?;
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match fetch(world, "client", &url, &SOURCE) {
            Ok(answer) if answer["status"] == 404 && served_by(&answer).as_ref() != Some(&victim) => {
                return Ok(());
            }
            Ok(answer) if answer["status"] == 200 => return Err(format!("it is remembered: {answer}")),
            last if Instant::now() > deadline => return Err(format!("last seen: {last:?}")),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
