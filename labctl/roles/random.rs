//! Bytes that nobody can guess, for identifiers.

use std::fs::File;
use std::io::{self, Read};

/// Fresh random bytes from the kernel.
pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
