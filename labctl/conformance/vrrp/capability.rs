//! What the engines are, and what they do not even claim to do: a scenario that needs that is skipped, with the reason.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use crate::kernel::process::{Spawn, find_program};
use crate::roles::frr;
use crate::topology::Engine;

/// Longest answer of a program that is asked for its version.
const VERSION_BYTES_MAX: u64 = 4096;

/// Why an engine cannot play a scenario with that tag; nothing if it can, or if the tag is about something else.
pub(super) fn lack(engine: Engine, tag: &str) -> Option<&'static str> {
    match (tag, engine) {
        ("needs-both-versions", Engine::Keepalived) => {
            Some("keepalived speaks VRRPv2 or VRRPv3, not both at once (RFC 9568 section 8.4 is a MAY)")
        }
        ("needs-both-versions", Engine::Frr) => {
            Some("FRRouting speaks VRRPv2 or VRRPv3, not both at once (RFC 9568 section 8.4 is a MAY)")
        }
        ("needs-owner", Engine::Frr) => Some(
            "FRRouting cannot be told that it is the owner: it concludes that from the addresses of its interface",
        ),
        ("needs-own-mac", Engine::Frr) => Some("FRRouting knows the virtual MAC only"),
        ("needs-accept-choice", Engine::Frr) => {
            Some("FRRouting has no switch for Accept_Mode: it always accepts")
        }
        ("needs-site", Engine::Frr) => Some(
            "FRRouting holds addresses on the election's own network only, and the public one is not there",
        ),
        ("needs-account", Engine::Keepalived | Engine::Frr) => {
            Some("`labctl explain` and `labctl doctor` can ask our own daemon only")
        }
        ("needs-log", Engine::Keepalived | Engine::Frr) => {
            Some("what a daemon writes to its log is judged of our own only")
        }
        _ => None,
    }
}

/// What an engine calls itself.
pub fn version(engine: Engine) -> String {
    match engine {
        Engine::Labctl => format!("labctl {}", env!("CARGO_PKG_VERSION")),
        Engine::Keepalived => said(find_program("keepalived"), |line| line.split(" (").next()),
        Engine::Frr => said(frr::path(frr::PROGRAM), |line| Some(line)),
    }
}

/// The first line of what a program says of itself.
fn said(program: Option<PathBuf>, short: impl Fn(&str) -> Option<&str>) -> String {
    let asked = || {
        let path = program?;
        let mut child = Spawn {
            program: path.as_os_str(),
            args: vec![OsStr::new("--version")],
            stdout: Stdio::piped(),
            stderr: Stdio::piped(),
            die_with_parent: true,
            ..Spawn::own(&[])
        }
        .start()
        .ok()?;
        let mut text = String::new();
        // Some say it here, some there; neither says enough to fill a pipe.
        child.stdout.take()?.take(VERSION_BYTES_MAX).read_to_string(&mut text).ok()?;
        child.stderr.take()?.take(VERSION_BYTES_MAX).read_to_string(&mut text).ok()?;
        child.wait().ok()?;
        let line = text.lines().find(|line| !line.trim().is_empty())?;
        short(line).map(|line| line.trim().to_owned())
    };
    asked().unwrap_or_else(|| "of an unknown version".to_owned())
}
