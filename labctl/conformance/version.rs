//! What an engine calls itself: of another's program that is what it says when asked for its version.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use crate::kernel::process::Spawn;

/// Longest answer of a program that is asked for its version.
const VERSION_BYTES_MAX: u64 = 4096;

/// What ours does.
pub(crate) const OURS: &str = concat!("labctl ", env!("CARGO_PKG_VERSION"));

/// The first line of what a program says of itself.
pub(crate) fn said(program: Option<PathBuf>, asked_by: &str, short: impl Fn(&str) -> Option<&str>) -> String {
    let asked = || {
        let path = program?;
        let mut child = Spawn {
            program: path.as_os_str(),
            args: vec![OsStr::new(asked_by)],
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
