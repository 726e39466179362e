//! `labctl balancer`: what the balancers of a lab do, and how to have them do something else, in the words of `ipvsadm`.

mod change;
mod directors;
mod names;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use super::{Failure, Format, Outcome, Which};
use crate::roles::balancer::request::{Becomes, Listing, Request};
use crate::topology::{NodeName, duration};
use directors::{Directors, Says};

/// As much as a topology may say.
const WEIGHT_MAX: i64 = 1000;

const EXAMPLES: &str = "\
Examples:
  labctl balancer list                             who serves what, and with how many connections
  labctl balancer list -n --connections            by number, and every connection
  labctl balancer stats --rate                     connections, packets and bytes a second
  labctl balancer weight web web1 3                three times the share of a weight of 1
  labctl balancer drain web web1 --wait            no new connections, and the old ones end in peace
  labctl balancer remove web web1
  labctl balancer add web web1 --weight 2

SERVICE is the name of a virtual service or its ADDRESS:PORT, REAL the name of a node, its ADDRESS or ADDRESS:PORT.
Changes are made on every director of the lab, so that their tables stay equal, unless `--node` names one. A balancer
that is restarted keeps them; a node that was switched off begins with the topology again.";

/// See what balancers do, and have them do something else
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List services, real servers and connections, as `ipvsadm -L` does
    List(List),
    /// Show connections, packets and bytes so far, as `ipvsadm -L --stats` does
    Stats(Stats),
    /// Give a real server another share of new connections
    Weight(Weight),
    /// Give a real server no new connections any more, and leave it the old ones
    Drain(Drain),
    /// Give a service another real server
    Add(Add),
    /// Take a real server from a service; its connections break
    Remove(Remove),
}

/// Which balancers, and how they are printed.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    which: Which,
    /// Only the balancer of this node
    #[arg(long)]
    node: Option<NodeName>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    common: Common,
    /// Addresses and ports instead of names
    #[arg(short, long)]
    numeric: bool,
    /// The connections that the balancer remembers, too
    #[arg(short, long)]
    connections: bool,
}

#[derive(Debug, clap::Args)]
struct Stats {
    #[command(flatten)]
    common: Common,
    /// Addresses and ports instead of names
    #[arg(short, long)]
    numeric: bool,
    /// How many a second, counted from now on
    #[arg(long)]
    rate: bool,
    /// How long to count
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration, requires = "rate")]
    over: Duration,
}

#[derive(Debug, clap::Args)]
struct Weight {
    #[command(flatten)]
    common: Common,
    /// The virtual service
    service: String,
    /// The real server
    real: String,
    /// Its share, relative to the others; 0 drains
    #[arg(value_parser = clap::value_parser!(u32).range(0..=WEIGHT_MAX))]
    weight: u32,
}

#[derive(Debug, clap::Args)]
struct Drain {
    #[command(flatten)]
    common: Common,
    /// The virtual service
    service: String,
    /// The real server
    real: String,
    /// Return when it has no connections any more, or with exit code 1 after the time-out
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration, requires = "wait")]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    common: Common,
    /// The virtual service
    service: String,
    /// ADDRESS:PORT, or NODE or NODE:PORT; the usual port is that of the other real servers
    real: String,
    /// Its share, relative to the others
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=WEIGHT_MAX))]
    weight: u32,
}

#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    common: Common,
    /// The virtual service
    service: String,
    /// The real server
    real: String,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::List(list) => self::list(list),
        Verb::Stats(stats) => self::stats(stats),
        Verb::Weight(Weight { common, service, real, weight }) => {
            change::existing(common, service, real, Becomes::Weight(*weight))
        }
        Verb::Remove(Remove { common, service, real }) => {
            change::existing(common, service, real, Becomes::Removed)
        }
        Verb::Drain(drain) => change::drain(drain),
        Verb::Add(Add { common, service, real, weight }) => change::add(common, service, real, *weight),
    }
}

fn list(args: &List) -> Outcome {
    let directors = Directors::find(&args.common)?;
    let all = directors.listings(&Request::Listing { connections: args.connections });
    print(&args.common, &all, |listing| {
        let mut text = table::list(listing, args.numeric);
        text += &listing.connections.as_ref().map(table::connections).unwrap_or_default();
        text
    })
}

#[expect(clippy::disallowed_methods, reason = "counts for as long as it is told to")]
fn stats(args: &Stats) -> Outcome {
    let directors = Directors::find(&args.common)?;
    let request = Request::Listing { connections: false };
    let before = directors.listings(&request);
    if !args.rate {
        return print(&args.common, &before, |listing| table::stats(listing, args.numeric));
    }
    std::thread::sleep(args.over);
    let after = directors.listings(&request);
    let rates: BTreeMap<NodeName, Says> = after
        .into_iter()
        .map(|(node, says)| match (before.get(&node), says) {
            (Some(Says::Listing(before)), Says::Listing(after)) => {
                (node, Says::Listing(Box::new(table::per_second(before, *after))))
            }
            (_, other) => (node, other),
        })
        .collect();
    print(&args.common, &rates, |listing| table::rate(listing, args.numeric))
}

/// Prints what every director says. If nobody says anything, that is a failure.
fn print(common: &Common, all: &BTreeMap<NodeName, Says>, render: impl Fn(&Listing) -> String) -> Outcome {
    let heard = all.values().any(|says| matches!(says, Says::Listing(_)));
    match common.format {
        Format::Json => print_line!("{:#}", serde_json::json!({ "directors": all }))?,
        Format::Table => {
            for (node, says) in all {
                match says {
                    Says::Listing(listing) => {
                        let is = if listing.active { "active" } else { "standby" };
                        print_line!("{node}: {is}, {}, because {}", listing.backend, listing.because)?;
                        print_line!("{}", render(listing))?;
                    }
                    Says::Off(how) => say!("{node}: off ({how})"),
                    Says::Silent(because) => say!("{node}: {because}"),
                }
            }
        }
    }
    Ok(if heard { ExitCode::SUCCESS } else { ExitCode::from(Failure::INFRASTRUCTURE) })
}
