//! How many changes the log has taken, in a file beside it. redb falls back to the state before if the newest one is
//! damaged: that is right after a loss of power, when nobody was told of the newest one, and wrong at any other time, when
//! it had been promised. The tip tells one from the other. It knows nothing of what the changes were.

use std::io;

use redb::StorageBackend;
use sha2::{Digest, Sha256};

/// Distance of the two slots, which are written in turn: a write that the power cuts short spoils one of them, and a disk
/// writes no less than this at once.
const SLOT_BYTES: u64 = 512;
const NUMBER_BYTES: usize = 8;
const CHECK_BYTES: usize = 32;

/// The file.
#[derive(Debug)]
pub(super) struct Tip<B> {
    file: B,
}

impl<B: StorageBackend> Tip<B> {
    /// The tip in a file, which may be empty.
    pub(super) fn new(file: B) -> Self {
        Self { file }
    }

    /// The number that was written last; `None` if the file holds none.
    pub(super) fn read(&self) -> io::Result<Option<u64>> {
        let len = self.file.len()?;
        let mut newest = None;
        for at in [0, SLOT_BYTES] {
            let mut slot = [0; NUMBER_BYTES + CHECK_BYTES];
            if at + slot.len() as u64 > len {
                continue;
            }
            self.file.read(at, &mut slot)?;
            let (number, check) = slot.split_at(NUMBER_BYTES);
            let number = number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            if check == checksum(number) {
                newest = newest.max(Some(number));
            }
        }
        Ok(newest)
    }

    /// Writes the next number. Returns once it is on the disk.
    pub(super) fn write(&self, number: u64) -> io::Result<()> {
        let mut slot = number.to_le_bytes().to_vec();
        slot.extend(checksum(number));
        self.file.write(number % 2 * SLOT_BYTES, &slot)?;
        self.file.sync_data()
    }
}

fn checksum(number: u64) -> [u8; CHECK_BYTES] {
    Sha256::new().chain_update("labctl raft log").chain_update(number.to_le_bytes()).finalize().into()
}
