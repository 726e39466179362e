//! Kernel settings of the calling thread's namespaces, by their dotted names.

use std::fs;
use std::io;
use std::path::PathBuf;

/// What a setting is now; nothing where this kernel does not have it as a number.
pub fn read(key: &str) -> Option<u8> {
    let path: PathBuf = ["/proc/sys", &key.replace('.', "/")].iter().collect();
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A setting that was refused.
#[derive(Debug, thiserror::Error)]
#[error("set {key} = {value}")]
pub struct Error {
    key: String,
    value: String,
    #[source]
    source: io::Error,
}

/// Sets `net.ipv4.ip_forward` and the like. A `?` before the key means "where this kernel has it".
pub fn write(key: &str, value: &str) -> Result<(), Error> {
    let (key, optional) = match key.strip_prefix('?') {
        Some(key) => (key, true),
        None => (key, false),
    };
    let path: PathBuf = ["/proc/sys", &key.replace('.', "/")].iter().collect();
    match fs::write(&path, value) {
        Err(source) if optional && source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| Error { key: key.to_owned(), value: value.to_owned(), source }),
    }
}
