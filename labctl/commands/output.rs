//! Standard output: data gets there, or the command says that it did not. It does not know what the data is.

use std::io::{self, ErrorKind, Write};

use super::Failure;

/// Writes data, all of it at once. A reader that is gone has had enough; whatever else keeps data from arriving is a
/// failure, and nobody takes half an answer for a whole one.
pub(crate) fn write(data: &[u8]) -> Result<(), Failure> {
    write_to(&mut io::stdout().lock(), data)
}

fn write_to(out: &mut impl Write, data: &[u8]) -> Result<(), Failure> {
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| failed(&error)),
    }
}

/// What to say of it.
pub(crate) fn failed(error: &io::Error) -> Failure {
    Failure::machine(format!("write to standard output: {error}"), "make room there, or send it elsewhere")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that fails in one way.
    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_that_is_gone_is_no_failure() {
        assert!(write_to(&mut Fails(ErrorKind::BrokenPipe), b"data").is_ok());
        assert!(write_to(&mut Fails(ErrorKind::StorageFull), b"data").is_err());
    }

    #[test]
    fn what_stays_in_a_buffer_has_not_arrived() {
        let mut out = io::LineWriter::new(Fails(ErrorKind::StorageFull));
        assert!(write_to(&mut out, b"half a line").is_err());
    }
}
