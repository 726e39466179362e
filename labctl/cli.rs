//! Arguments -> command -> exit code. What a verb does is in `commands/`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{self, Failure};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a drill failed, a history contradicts itself, a lab did not become ready, a site gave no good answer to `labctl talk`,
     `fetch` or `reach`, a hog did not get what it wanted, `labctl doctor` found something, or our own daemon failed a
     requirement of `labctl conformance` (what other engines fail is its result, and no failure)
  2  bad arguments, a faulty file, or a lab or node that does not exist; nothing was changed
  3  a regression against an earlier report
  4  the machine did not let it happen, what was to be printed could not be written, a drill ended unknown, or a history
     says too little to be judged
`labctl exec` ends with the exit code of the command that it ran; one that a signal ended, with 128 and its number, as
`labctl hog` does.";

const EXAMPLES: &str = "\
Examples:
  labctl up topologies/ha.yaml                     build the site and wait until it works
  labctl status                                    who runs, who holds the VIP, whom the databases follow
  labctl talk hello                                a conversation through the one public address
  labctl power off proxy1                          silence; proxy2 takes the VIP
  labctl explain proxy2                            why it did
  labctl doctor                                    what is wrong, and what to do about it
  labctl down --wait                               end it, and prove that nothing is left
  labctl drill run topologies/drills/proxy-crash.yaml";

/// Builds a high-availability site out of Linux namespaces, breaks it on purpose, and proves what survives.
#[derive(Debug, Parser)]
#[command(name = "labctl", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a lab and wait until it works
    Up(commands::up::Args),
    /// End a lab
    Down(commands::down::Args),
    /// Show what a lab is like now
    Status(commands::status::Args),
    /// List the labs that are up
    List(commands::list::Args),
    /// Say why a node is as it is
    Explain(commands::explain::Args),
    /// Find out what is wrong with the labs and the machine
    Doctor(commands::doctor::Args),
    /// Run a command on a node
    Exec(commands::exec::Args),
    /// Have a conversation with the site
    Talk(commands::talk::Args),
    /// Have many conversations with the site, and check its memory
    Load(commands::load::Args),
    /// Make one HTTP request from a node
    Fetch(commands::fetch::Args),
    /// Show the way of one request, packet by packet and hop by hop
    Trace(commands::trace::Args),
    /// Try TCP connections from a node
    Reach(commands::reach::Args),
    /// See what balancers do, and have them do something else
    Balancer(commands::balancer::Args),
    /// Print what a node's services wrote
    Logs(commands::logs::Args),
    /// Print what happened, one JSON line an event
    Events(commands::events::Args),
    /// Switch a node off (silence) or on again
    Power(commands::power::Args),
    /// Kill a node or signal one of its services
    Kill(commands::kill::Args),
    /// Cut nodes off from all others, or from each other
    Cut(commands::cut::Args),
    /// Have nodes that were cut off reach everybody again
    Heal(commands::heal::Args),
    /// Wipe a node's disk, fill it, or give it its room back
    Disk(commands::disk::Args),
    /// Use up what a node has, for a bounded time
    Hog(commands::hog::Args),
    /// Check topology files
    Validate(commands::validate::Args),
    /// Decide whether a history of conversations is consistent
    Check(commands::check::Args),
    /// Break a site by a timetable and report what survived
    Drill(commands::drill::Args),
    /// Judge a daemon or a balancer from outside, by what it does to others
    Conformance(commands::conformance::Args),
    /// List the engines that can take the place of ours, and what each promises
    Engines(commands::engines::Args),
    /// Install what an engine needs, without starting it on this machine
    Setup(commands::setup::Args),
    /// Print completions for a shell
    Completions(commands::completions::Args),
    #[command(name = "__holder", hide = true)]
    Holder,
    #[command(name = "__node", hide = true)]
    Node,
    #[command(name = crate::roles::hog::VERB, hide = true)]
    Eat(commands::hog::Hunger),
    #[command(name = crate::holder::sweeper::VERB, hide = true)]
    Sweep { lab: crate::topology::LabName },
    #[command(name = "__scenario", hide = true)]
    Scenario(commands::conformance::One),
    #[command(name = "__role", hide = true)]
    Role(commands::role::Args),
    #[command(name = "__ask", hide = true)]
    Ask(commands::ask::Args),
}

/// A reader that has seen enough (`labctl events | head`) ends a command as it would end any other.
fn end_with_the_pipe() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: restoring the default action installs no code.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// A holder, a node or a daemon that has lost one of its threads is none any more: whoever watches it must see it end.
fn end_with_the_first_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// The whole program.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            // Help and version are no mistakes, and data.
            return match printed {
                _ if error.use_stderr() => ExitCode::from(Failure::USAGE),
                Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => {
                    commands::output::failed(&why).print()
                }
                _ => ExitCode::SUCCESS,
            };
        }
    };
    match cli.verb {
        Verb::Holder | Verb::Node | Verb::Role(_) => end_with_the_first_panic(),
        // These have something to finish, whoever still reads.
        Verb::Up(_) | Verb::Down(_) | Verb::Drill(_) | Verb::Setup(_) => {}
        _ => end_with_the_pipe(),
    }
    let result = match cli.verb {
        Verb::Up(args) => commands::up::run(&args),
        Verb::Down(args) => commands::down::run(&args),
        Verb::Status(args) => commands::status::run(&args),
        Verb::List(args) => commands::list::run(&args),
        Verb::Explain(args) => commands::explain::run(&args),
        Verb::Doctor(args) => commands::doctor::run(&args),
        Verb::Exec(args) => commands::exec::run(&args),
        Verb::Talk(args) => commands::talk::run(&args),
        Verb::Fetch(args) => commands::fetch::run(&args),
        Verb::Trace(args) => commands::trace::run(&args),
        Verb::Reach(args) => commands::reach::run(&args),
        Verb::Balancer(args) => commands::balancer::run(&args),
        Verb::Logs(args) => commands::logs::run(&args),
        Verb::Events(args) => commands::events::run(&args),
        Verb::Power(args) => commands::power::run(&args),
        Verb::Load(args) => commands::load::run(&args),
        Verb::Kill(args) => commands::kill::run(&args),
        Verb::Cut(args) => commands::cut::run(&args),
        Verb::Heal(args) => commands::heal::run(&args),
        Verb::Disk(args) => commands::disk::run(&args),
        Verb::Hog(args) => commands::hog::run(&args),
        Verb::Eat(hunger) => commands::hog::eat(&hunger),
        Verb::Validate(args) => commands::validate::run(&args),
        Verb::Check(args) => commands::check::run(&args),
        Verb::Drill(args) => commands::drill::run(&args),
        Verb::Conformance(args) => commands::conformance::run(&args),
        Verb::Scenario(args) => commands::conformance::one(&args),
        Verb::Engines(args) => commands::engines::run(&args),
        Verb::Setup(args) => commands::setup::run(&args),
        Verb::Completions(args) => commands::completions::run::<Cli>(&args),
        Verb::Holder => return crate::holder::run(),
        Verb::Node => commands::role::node(),
        Verb::Sweep { lab } => return crate::holder::sweeper::run(&lab),
        Verb::Role(args) => commands::role::run(&args),
        Verb::Ask(args) => commands::ask::run(&args),
    };
    result.unwrap_or_else(|failure| failure.print())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
