//! The hidden verbs: what PID 1 of a node starts, and PID 1 itself.

use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use miette::IntoDiagnostic;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use super::{Failure, Outcome};
use crate::report::What;
use crate::roles::{self, Reporter, SITE_PATH, Site};
use crate::topology::NodeName;

/// Run a daemon on a node
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which
    role: Role,
    /// The node it is on
    #[arg(long)]
    node: NodeName,
    /// The site that it belongs to
    #[arg(long, default_value = SITE_PATH)]
    site: std::path::PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Vrrpd,
    Keepalived,
    Frr,
    Balancer,
    Haproxy,
    Nginx,
    Ipvs,
    Web,
    Db,
    Witness,
    Etcd,
    Redis,
    Sentinel,
    Patroni,
    Whoami,
    Load,
}

/// Runs PID 1 of a node.
pub fn node() -> Outcome {
    match roles::init::run() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("init: {}", crate::holder::lab::chain(&error));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Runs a daemon.
pub fn run(args: &Args) -> Outcome {
    // Our own transitions, and what libraries warn of.
    let levels = Targets::new().with_target("labctl", Level::INFO).with_default(Level::WARN);
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(levels).init();
    let role = format!("{:?}", args.role).to_lowercase();
    let reporter = Reporter::from_env(Some(args.node.to_string()), &role);
    match start(args, &reporter) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(report) => {
            // One line each, for the node's log and for `labctl status`.
            let because = report.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
            say!("{role} on {}: {because}", args.node);
            reporter.emit(What::GaveUp { because });
            Ok(ExitCode::from(Failure::INFRASTRUCTURE))
        }
    }
}

fn start(args: &Args, reporter: &Reporter) -> miette::Result<()> {
    let site = Site::load(Path::new(&args.site), args.node.clone()).into_diagnostic()?;
    let node = Some(args.node.to_string());
    let reporter = |service: &str| reporter.of(service);
    match args.role {
        Role::Vrrpd => roles::vrrpd::run(&site, reporter("vrrpd")).into_diagnostic(),
        Role::Keepalived => roles::keepalived::run(&site, reporter("keepalived")).into_diagnostic(),
        Role::Frr => roles::frr::run(&site, reporter("frr")).into_diagnostic(),
        Role::Balancer => roles::balancer::run(&site, reporter("balancer")).into_diagnostic(),
        Role::Haproxy => roles::haproxy::run(&site, reporter("haproxy")).into_diagnostic(),
        Role::Nginx => roles::nginx::run(&site, reporter("nginx")).into_diagnostic(),
        Role::Ipvs => roles::ipvs::run(&site, reporter("ipvs")).into_diagnostic(),
        Role::Web => roles::web::run(&site, reporter("web")).into_diagnostic(),
        Role::Db => roles::db::run(&site, reporter("db")).into_diagnostic(),
        Role::Witness => roles::witness::run(&site, reporter("witness")).into_diagnostic(),
        Role::Etcd => roles::etcd::run(&site, reporter("etcd")).into_diagnostic(),
        Role::Redis => roles::redis::run(&site, reporter("redis")).into_diagnostic(),
        Role::Sentinel => roles::redis::watch(&site, reporter("sentinel")).into_diagnostic(),
        Role::Patroni => roles::patroni::run(&site, reporter("patroni")).into_diagnostic(),
        Role::Whoami => roles::whoami::run(&site, reporter("whoami")).into_diagnostic(),
        Role::Load => roles::load::serve(node).into_diagnostic(),
    }
}
