//! The real server: the least that speaks HTTP/1.1, so that what is measured is the way and not its end. A number as the
//! path is that many bytes in the answer; what a request carries is read and forgotten.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::http::{self, Head, REAL};

/// What this program is told to be a server.
pub const VERB: &str = "__serve";
/// What one write takes from.
static ZEROES: [u8; 256 * 1024] = [0; 256 * 1024];
/// After an error of `accept`, which means that descriptors are short.
const REST: Duration = Duration::from_millis(10);

/// Serves on a port until it is killed.
pub fn run(port: &str) -> ExitCode {
    let served = port.parse().map_err(std::io::Error::other).and_then(|port: u16| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(port))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(port: u16) -> std::io::Result<()> {
    let name: &'static str = nix::unistd::gethostname()?.to_string_lossy().into_owned().leak();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(name, stream))),
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// One connection, until the other side has enough.
async fn converse(name: &str, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let head = loop {
            if let Some(head) = Head::read(&buffer[..filled])? {
                break head;
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                count => filled += count,
            }
        };
        let carried = filled - head.bytes;
        let mut left = head.body.saturating_sub(carried);
        let rest = carried.saturating_sub(head.body);
        buffer.copy_within(filled - rest..filled, 0);
        filled = rest;
        while left > 0 {
            let room = left.min(buffer.len() - filled);
            match stream.read(&mut buffer[filled..filled + room]).await? {
                0 => return Ok(()),
                count => left -= count,
            }
        }
        let length = http::wanted(&head.first);
        let connection = if head.closes { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: {connection}\r\n{REAL}: {name}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await?;
        let mut left = length;
        while left > 0 {
            let part = left.min(ZEROES.len());
            stream.write_all(&ZEROES[..part]).await?;
            left -= part;
        }
        if head.closes {
            // Closed here first, so that TIME-WAIT is on this side and not among the client's few ports.
            return stream.shutdown().await;
        }
    }
}
