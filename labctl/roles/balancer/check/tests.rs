//! Checks of servers that really listen, or do not, and of programs that really run.

use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const IMPATIENCE: Duration = Duration::from_millis(20);

async fn check(probe: Probe, at: SocketAddr, timeout: Duration) -> Result<(), String> {
    let own = Own { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST) };
    let prober = Prober::new(own).expect("a prober");
    let check = HealthCheck { probe, interval: timeout, timeout, rise: 1, fall: 1 };
    prober.check(&check, "web1", at).await
}

fn http() -> Probe {
    Probe::Http("/healthz".to_owned())
}

fn script(line: &str) -> Probe {
    Probe::Command(["sh", "-c", line].map(str::to_owned).to_vec())
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Answers one request with a status line, or never.
async fn server(status: Option<&'static str>) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let _ = stream.read(&mut [0; 1024]).await;
        match status {
            Some(status) => {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("an answer");
            }
            None => std::future::pending().await,
        }
    });
    address
}

#[tokio::test]
async fn a_port_that_listens_is_well() {
    let (_listener, address) = listener().await;
    assert_eq!(check(Probe::Tcp, address, PATIENCE).await, Ok(()));
}

#[tokio::test]
async fn a_port_that_refuses_is_not() {
    let (listener, address) = listener().await;
    drop(listener);
    for probe in [Probe::Tcp, http()] {
        let because = check(probe, address, PATIENCE).await.expect_err("refused");
        assert!(because.contains("Connection refused"), "{because}");
    }
}

#[tokio::test]
async fn only_2xx_is_well() {
    for (status, well) in [
        ("200 OK", Ok(())),
        ("204 No Content", Ok(())),
        ("302 Found", Err("answered 302 Found".to_owned())),
        ("503 Service Unavailable", Err("answered 503 Service Unavailable".to_owned())),
    ] {
        assert_eq!(check(http(), server(Some(status)).await, PATIENCE).await, well);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_not_well() {
    let outcome = check(http(), server(None).await, IMPATIENCE).await;
    assert_eq!(outcome, Err("no answer in 20ms".to_owned()));
}

#[tokio::test]
async fn servers_of_ipv6_are_asked_by_ipv6() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    assert_eq!(check(Probe::Tcp, address, PATIENCE).await, Ok(()));
    let own = Own { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
    let lame = Prober::new(own).expect("a prober");
    for probe in [Probe::Tcp, http()] {
        let check = HealthCheck { probe, interval: PATIENCE, timeout: PATIENCE, rise: 1, fall: 1 };
        let because = lame.check(&check, "web1", address).await.expect_err("no address");
        assert_eq!(because, "this node has no address of its own to speak to ::1 from");
    }
}

#[tokio::test]
async fn a_script_is_told_whom_it_is_about_and_nothing_of_our_secrets() {
    let at = SocketAddr::from(([10, 10, 1, 21], 8080));
    let told = r#"test "$LABCTL_REAL_NODE $LABCTL_REAL_ADDRESS $LABCTL_REAL_PORT" = "web1 10.10.1.21 8080""#;
    assert_eq!(check(script(told), at, PATIENCE).await, Ok(()));
    // The test harness has this one, and the script must not.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(check(script("test -z \"$CARGO_MANIFEST_DIR\""), at, PATIENCE).await, Ok(()));
    let because = check(script("exit 3"), at, PATIENCE).await;
    assert_eq!(because, Err("sh ended with exit status: 3".to_owned()));
    let nobody = Probe::Command(vec!["no-such-program-anywhere".to_owned()]);
    let because = check(nobody, at, PATIENCE).await.expect_err("nothing to run");
    assert!(because.starts_with("run no-such-program-anywhere: "), "{because}");
}

/// Whether anybody reads the other end: nobody does as soon as the last process that has it is gone.
async fn is_read(pipe: &mut tokio::net::unix::pipe::Sender) -> bool {
    // Not `ready`, which also comes with an error that writing tells.
    !matches!(pipe.try_write(b"x"), Err(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

#[tokio::test]
async fn a_script_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    // The child reads the fifo, and its parent waits for it.
    let line = format!("cat {0} >/dev/null & wait", fifo.display());
    let at = SocketAddr::from(([10, 10, 1, 21], 80));
    let hanging = tokio::spawn(async move { check(script(&line), at, Duration::from_secs(1)).await });
    let options = tokio::net::unix::pipe::OpenOptions::new();
    let mut pipe = loop {
        // Cannot be opened for writing before somebody reads.
        match options.open_sender(&fifo) {
            Ok(pipe) => break pipe,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(is_read(&mut pipe).await, "the script runs");
    let because = hanging.await.expect("a check").expect_err("no end");
    assert_eq!(because, "sh has not ended in 1s");
    let gone = async {
        while is_read(&mut pipe).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the child of the script is killed, too");
}

#[tokio::test]
async fn a_script_that_ends_leaves_nothing_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    // Opened for both, a fifo waits for nobody.
    let options = tokio::net::unix::pipe::OpenOptions::new();
    let reader = options.open_receiver(&fifo).expect("a reader");
    let line = format!("(exec 3>{0}; exec sleep 1000) & exec 4>{0}", fifo.display());
    let at = SocketAddr::from(([10, 10, 1, 21], 80));
    assert_eq!(check(script(&line), at, PATIENCE).await, Ok(()));
    let end = async {
        loop {
            reader.readable().await.expect("a fifo");
            match reader.try_read(&mut [0; 1]) {
                Ok(0) => break,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, end).await.expect("the background process is killed");
}
