//! `labctl talk`: a conversation with the site, as somebody on the street would have it: to one address, and expecting to
//! be remembered.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::{Failure, Outcome, Which};
use crate::holder::lab::chain;
use crate::topology::{NodeName, Topology, lasting};

const EXAMPLES: &str = "\
Examples:
  labctl talk hello                       begin a conversation; prints its id
  labctl talk --in ID are you there       say one thing more, whoever answers
  labctl talk --in ID                     read it all back; control characters are escaped, as \\n

Exit codes: 0 answered, 1 the site did not answer in time, refused, or does not remember the conversation, 2 bad arguments,
or no such lab or node, 4 the machine did not let it happen.";

/// Have a conversation with the site
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node that talks; the first client if none is named
    #[arg(long, value_name = "NODE")]
    from: Option<NodeName>,
    /// The conversation to go on with, instead of a new one
    #[arg(long = "in", value_name = "ID")]
    id: Option<String>,
    /// How long one answer may take
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = lasting)]
    timeout: Duration,
    /// What to say; nothing reads the conversation back
    words: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    let topology = lab.topology()?;
    let from = speaker(&topology, args.from.as_ref())?;
    let site = public_service(&topology)?;
    lab.enter(&from)?.visit().map_err(|errno| Failure::entering(&from, errno))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(talk(args, &format!("http://{}:{}", site.0, site.1))) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Unanswered::Site(why)) => {
            say!("labctl: {why}");
            Ok(ExitCode::from(Failure::FAILED))
        }
        Err(Unanswered::Output(failure)) => Err(failure),
    }
}

/// Why there is no answer to show.
enum Unanswered {
    /// The site did not do its part.
    Site(String),
    /// The answer could not be printed.
    Output(Failure),
}

impl From<String> for Unanswered {
    fn from(why: String) -> Self {
        Self::Site(why)
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}

fn speaker(topology: &Topology, named: Option<&NodeName>) -> Result<NodeName, Failure> {
    let first = || topology.nodes_of(crate::topology::Role::Client).next().map(|node| node.name.clone());
    named.cloned().or_else(first).ok_or_else(|| {
        Failure::usage(
            "this lab has no client node to talk from",
            "name another node: `labctl talk --from NODE`",
        )
    })
}

fn public_service(topology: &Topology) -> Result<(IpAddr, u16), Failure> {
    let service = topology.balancer.iter().flat_map(|balancer| &balancer.services).next();
    service.map(|service| (service.address, service.port)).ok_or_else(|| {
        Failure::usage("this lab has no virtual service to talk to", "`balancer:` in the topology makes one")
    })
}

async fn talk(args: &Args, site: &str) -> Result<(), Unanswered> {
    let failed = |error: reqwest::Error| format!("talk to {site}: {}", chain(&error));
    let client = Client::builder()
        .no_proxy()
        .timeout(args.timeout)
        .tcp_user_timeout(args.timeout)
        .build()
        .map_err(failed)?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            let begun = client.post(format!("{site}/conversations")).send().await.map_err(failed)?;
            let (by, body) = read(begun).await?;
            let id = body["id"].as_str().unwrap_or_default().to_owned();
            say!("{by} began conversation {id}");
            print_line!("{id}")?;
            id
        }
    };
    let url = format!("{site}/conversations/{id}");
    if args.words.is_empty() {
        let (by, body) = read(client.get(url).send().await.map_err(failed)?).await?;
        say!("{by} remembers:");
        for turn in body["turns"].as_array().into_iter().flatten() {
            print_line!("{} {}", turn["position"], one_line(turn["text"].as_str().unwrap_or_default()))?;
        }
        return Ok(());
    }
    let turn = serde_json::json!({ "text": args.words.join(" ") });
    let request = client.post(format!("{url}/turns")).header("Idempotency-Key", key()).json(&turn);
    let (by, body) = read(request.send().await.map_err(failed)?).await?;
    say!("{by} took turn {}", body["position"]);
    Ok(())
}

/// What somebody said, on one line and with nothing that a terminal obeys: another client of the site may have said it.
fn one_line(text: &str) -> String {
    let escaped = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        // Some order the text around them, or break the line, without being control characters.
        c if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            c.escape_default().to_string()
        }
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A key that no other turn has: this process at this time.
fn key() -> String {
    format!("talk-{}-{}", std::process::id(), crate::kernel::clock::monotonic_ns())
}

/// Who answered, and what; an answer that is no success is an error.
async fn read(response: Response) -> Result<(String, Value), String> {
    let status = response.status();
    let by = response
        .headers()
        .get("x-served-by")
        .and_then(|by| by.to_str().ok())
        .unwrap_or("somebody")
        .to_owned();
    let body: Value = response.json().await.unwrap_or_default();
    match status {
        status if status.is_success() => Ok((by, body)),
        StatusCode::NOT_FOUND => Err(format!("{by} does not remember this conversation")),
        status => Err(format!("{by} answered {status}: {}", body["detail"].as_str().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_said_moves_the_cursor_or_begins_a_line() {
        assert_eq!(one_line("grüß dich, 3 + 4"), "grüß dich, 3 + 4");
        assert_eq!(one_line("a\n2 b\r\u{1b}[2J\u{9b}1m\u{202e}\\n"), r"a\n2 b\r\u{1b}[2J\u{9b}1m\u{202e}\\n");
    }
}
