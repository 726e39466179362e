//! What the tests of all programs that others wrote have in common: a site to tell them of, and such a program itself
//! with a folder of its own. It knows no configuration language.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::{Error, balancer};
use crate::kernel::process::{self, Spawn};
use crate::roles::Site;
use crate::topology::{Balancer, Forward, Rule, Topology, VirtualService, parse};

const HA: &str = include_str!("../../../topologies/ha.yaml");

/// What a program with the folder is told, as configuration or as refusal.
pub(in crate::roles) type Told = Result<String, String>;

/// The whole site as proxy1 sees it, with a change.
pub(in crate::roles) fn site(change: impl FnOnce(&mut Topology)) -> Site {
    let mut topology = parse("ha.yaml", HA).expect("a topology without mistakes");
    change(&mut topology);
    Site { topology, me: "proxy1".parse().expect("a name"), disk: "/nowhere".into() }
}

/// What `configuration` makes of the site with this method and a change to its virtual service.
pub(in crate::roles) fn told(
    configuration: impl FnOnce(&Site, &Balancer) -> Result<String, Error>,
    forward: Forward,
    change: impl FnOnce(&mut VirtualService),
) -> Told {
    let site = site(|topology| {
        let balancer = topology.balancer.as_mut().expect("a balancer");
        balancer.forward = forward;
        change(&mut balancer.services[0]);
    });
    let balancer = balancer(&site.topology).map_err(|error| error.to_string())?;
    configuration(&site, balancer).map_err(|error| error.to_string())
}

/// One rule of each kind, with values that a careless writer would trip over.
pub(in crate::roles) fn rules() -> Vec<Rule> {
    let rule = || Rule {
        host: None,
        path: None,
        header: None,
        cookie: None,
        reals: vec!["web2".parse().expect("a name")],
    };
    vec![
        Rule { host: Some("www.example".to_owned()), path: Some("/it's/".to_owned()), ..rule() },
        Rule { header: Some(("X-Tenant".to_owned(), "blue \"$sky\" {1}".to_owned())), ..rule() },
        Rule { cookie: Some(("beta".to_owned(), "1".to_owned())), ..rule() },
    ]
}

/// The program on a folder with this configuration in `conf`, where it is installed. `FOLDER` in its arguments is that
/// folder, which lives as long as the second value.
pub(in crate::roles) fn start(
    program: &str,
    text: &str,
    args: &[&str],
    [stdout, stderr]: [Stdio; 2],
) -> Option<(Child, TempDir)> {
    let path = process::find_program(program)?;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("conf"), text).expect("a file");
    std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
    let at = folder.path().display().to_string();
    let args: Vec<String> = args.iter().map(|word| word.replace("FOLDER", &at)).collect();
    let spawn = Spawn {
        program: path.as_os_str(),
        args: args.iter().map(OsStr::new).collect(),
        stdout,
        stderr,
        die_with_parent: true,
        ..Spawn::own(&[])
    };
    Some((spawn.start().expect("the program"), folder))
}

/// Has the program itself read what was written for it, where it is installed.
pub(in crate::roles) fn accepted(program: &str, text: &str, args: &[&str]) {
    let Some((child, _folder)) = start(program, text, args, [Stdio::piped(), Stdio::piped()]) else {
        let _ = writeln!(std::io::stderr(), "skipped: no {program}");
        return;
    };
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("[WARNING]"), "{said}\n{text}");
}
