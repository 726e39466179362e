//! `labctl down`: the end of a lab.

use std::process::ExitCode;

use super::{Failure, Named, Outcome};
use crate::holder::client::{Error, Lab, labs, sweep};

/// End a lab
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  labctl down\n  labctl down second --wait\n  labctl down --all")]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Return only when the kernel has removed everything, and prove it
    #[arg(long)]
    wait: bool,
    /// End every lab
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    sweep();
    if !args.all {
        end(&args.named.find()?, args.wait)?;
        return Ok(ExitCode::SUCCESS);
    }
    // One that does not end does not save the others.
    let mut code = ExitCode::SUCCESS;
    for name in labs()? {
        let ended = Lab::find(Some(name)).map_err(Failure::from).and_then(|lab| end(&lab, args.wait));
        if let Err(failure) = ended {
            code = failure.print();
        }
    }
    Ok(code)
}

fn end(lab: &Lab, wait: bool) -> Result<(), Failure> {
    if wait {
        let namespaces = lab.down_and_wait()?;
        say!("{} is down; its {namespaces} network namespaces are gone", lab.name());
        return Ok(());
    }
    match lab.down() {
        // Somebody else ended it at the same time.
        Ok(()) | Err(Error::NoSuchLab { .. }) => say!("{} is down", lab.name()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
