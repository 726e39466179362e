//! Changes of real servers: on every director, each of which says what it did.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::directors::{Directors, Says, Unheard};
use super::{Common, Drain, names};
use crate::commands::{Failure, Format, Outcome};
use crate::roles::balancer::request::{Answer, Becomes, Change, Changed, Request};
use crate::topology::ServiceName;

/// How often somebody who waits looks again.
const LOOK: Duration = Duration::from_millis(250);

const LISTING: Request = Request::Listing { connections: false };

/// Changes a real server that is there.
pub(super) fn existing(common: &Common, service: &str, real: &str, becomes: Becomes) -> Outcome {
    let directors = Directors::find(common)?;
    let all = directors.listings(&LISTING);
    let service = names::service(service, &all)?;
    let real = names::real(real, service)?.address;
    make(common, &directors, Change { service: service.name.clone(), real, becomes })
}

/// Adds one that is not.
pub(super) fn add(common: &Common, service: &str, real: &str, weight: u32) -> Outcome {
    let directors = Directors::find(common)?;
    let all = directors.listings(&LISTING);
    let service = names::service(service, &all)?;
    let (real, name) = names::newcomer(real, service, &directors.topology)?;
    let becomes = Becomes::Added { name, weight };
    make(common, &directors, Change { service: service.name.clone(), real, becomes })
}

/// Takes its weight from a real server, and may wait until its connections have ended.
#[expect(clippy::disallowed_methods, reason = "waits for a bounded time")]
pub(super) fn drain(args: &Drain) -> Outcome {
    let directors = Directors::find(&args.common)?;
    let all = directors.listings(&LISTING);
    let service = names::service(&args.service, &all)?;
    let (name, real) = (service.name.clone(), names::real(&args.real, service)?.address);
    let change = Change { service: name.clone(), real, becomes: Becomes::Weight(0) };
    let code = make(&args.common, &directors, change)?;
    if !args.wait || code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let begun = Instant::now();
    loop {
        let left = left(&directors, &name, real);
        let waited = begun.elapsed();
        match left {
            Some(0) => {
                say!("{real} of {name} has no connections left, after {waited:.1?}");
                return Ok(ExitCode::SUCCESS);
            }
            _ if waited < args.timeout => std::thread::sleep(LOOK),
            Some(left) => {
                say!("{real} of {name} has {} left, after {waited:.1?}", connections(left));
                return Ok(ExitCode::from(Failure::FAILED));
            }
            None => {
                let message = format!("no balancer says how many connections {real} of {name} has left");
                return Err(Failure::machine(message, "`labctl status` shows what runs"));
            }
        }
    }
}

/// The connections that a real server has on the directors that balance: others do not see how they end.
fn left(directors: &Directors, service: &ServiceName, real: std::net::SocketAddr) -> Option<u64> {
    let all = directors.listings(&LISTING);
    let listings = all.values().filter_map(|says| match says {
        Says::Listing(listing) if listing.active => Some(listing),
        _ => None,
    });
    let services = listings.flat_map(|listing| &listing.services).filter(|it| it.name == *service);
    services.flat_map(|it| &it.reals).filter(|it| it.address == real).map(|it| it.active).max()
}

/// Has every director make a change. Succeeds if one did, and none that could be asked did not.
fn make(common: &Common, directors: &Directors, change: Change) -> Outcome {
    let (service, real) = (change.service.clone(), change.real);
    let answers = directors.ask(&Request::Change(change));
    let (mut made, mut refused, mut failed) = (0, 0, 0);
    let mut outcomes = serde_json::Map::new();
    for (node, answer) in answers {
        let (words, value) = match answer {
            Ok(Answer::Changed(changed)) => {
                made += 1;
                (words(&service, &changed), json!({ "changed": changed }))
            }
            Ok(Answer::Refused(because)) => {
                refused += 1;
                (because.clone(), json!({ "refused": because }))
            }
            Err(Unheard::Off(how)) => {
                (format!("off ({how}); it will begin with the topology"), json!({ "off": how }))
            }
            Ok(Answer::Failed(because)) | Err(Unheard::Silent(because)) => {
                failed += 1;
                (because.clone(), json!({ "failed": because }))
            }
            Ok(Answer::Listing(_)) => {
                failed += 1;
                ("it answers another question".to_owned(), json!({ "failed": "another question" }))
            }
        };
        match common.format {
            Format::Table => say!("{node}: {words}"),
            Format::Json => drop(outcomes.insert(node.to_string(), value)),
        }
    }
    if common.format == Format::Json {
        print_line!("{:#}", json!({ "service": service, "real": real, "directors": outcomes }))?;
    }
    Ok(match (made, refused, failed) {
        (0, 1.., _) => ExitCode::from(Failure::USAGE),
        (1.., _, 0) => ExitCode::SUCCESS,
        _ => ExitCode::from(Failure::INFRASTRUCTURE),
    })
}

/// What a change did, in a sentence.
fn words(service: &ServiceName, changed: &Changed) -> String {
    let Changed { real, was, now, connections: count } = changed;
    let count = count.map(connections);
    match (was, now) {
        (Some(_), Some(0)) => {
            let left = count.map(|count| format!("; {count} left")).unwrap_or_default();
            format!("{real} of {service} gets no new connections{left}")
        }
        (Some(was), Some(now)) => format!("{real} of {service} has weight {now} instead of {was}"),
        (None, Some(weight)) => {
            format!("{real} serves {service} with weight {weight}, as soon as its check passes")
        }
        (_, None) => {
            let had = count.map(|count| format!("; it had {count}")).unwrap_or_default();
            format!("{real} does not serve {service} any more{had}")
        }
    }
}

fn connections(count: u64) -> String {
    match count {
        0 => "no connections".to_owned(),
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_a_sentence() {
        let service: ServiceName = "web".parse().expect("a name");
        let say = |was, now, connections| {
            words(&service, &Changed { real: "web1".to_owned(), was, now, connections })
        };
        let told = [
            say(Some(1), Some(3), Some(5)),
            say(Some(1), Some(0), Some(5)),
            say(Some(0), Some(0), Some(1)),
            say(Some(1), Some(0), None),
            say(None, Some(2), Some(0)),
            say(Some(1), None, Some(0)),
        ];
        insta::assert_snapshot!(told.join("\n"), @"
        web1 of web has weight 3 instead of 1
        web1 of web gets no new connections; 5 connections left
        web1 of web gets no new connections; 1 connection left
        web1 of web gets no new connections
        web1 serves web with weight 2, as soon as its check passes
        web1 does not serve web any more; it had no connections
        ");
    }
}
