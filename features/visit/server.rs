//! Small servers that a scenario puts on a node beside the web, and who asks them: datagrams that are answered with the
//! server's name, and uploads whose bytes are counted. They know nothing of scenarios.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::world::WAIT_MAX;

/// Longest datagram that is taken.
const DATAGRAM_BYTES_MAX: usize = 1500;
/// Bytes that are read or written at once.
const PART_BYTES: usize = 64 * 1024;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Answers every datagram with this name until the process ends.
pub fn answer_datagrams(on: &str, name: &str) -> Result<(), String> {
    let socket = UdpSocket::bind(on).map_err(text)?;
    println!("ready");
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let (_, from) = socket.recv_from(&mut buffer).map_err(text)?;
        socket.send_to(name.as_bytes(), from).map_err(text)?;
    }
}

/// Sends datagrams, each from another port, and says who answered each.
pub fn send_datagrams(source: &str, target: &str, count: &str) -> Result<(), String> {
    let source: IpAddr = source.parse().map_err(text)?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    for number in 0..count.parse().map_err(text)? {
        let socket = UdpSocket::bind((source, 0)).map_err(text)?;
        // Nobody is heard but whom it was sent to.
        socket.connect(target).map_err(text)?;
        socket.set_read_timeout(Some(WAIT_MAX)).map_err(text)?;
        socket.send(b"who are you?").map_err(text)?;
        let len = socket.recv(&mut buffer).map_err(|error| format!("hear datagram {number}: {error}"))?;
        println!("{}", String::from_utf8_lossy(&buffer[..len]));
    }
    Ok(())
}

/// Takes in what each connection brings, one after the other, and answers with its name and how much that was.
pub fn take_in(on: &str, name: &str) -> Result<(), String> {
    let listener = TcpListener::bind(on).map_err(text)?;
    println!("ready");
    let mut part = vec![0; PART_BYTES];
    for stream in listener.incoming() {
        let mut stream = stream.map_err(text)?;
        stream.set_read_timeout(Some(WAIT_MAX)).map_err(text)?;
        let mut taken = 0;
        loop {
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(len) => taken += len,
                Err(error) => return Err(format!("after {taken} bytes: {error}")),
            }
        }
        stream.write_all(format!("{name} {taken}").as_bytes()).map_err(text)?;
    }
    Ok(())
}

/// Uploads so many bytes over one connection; says who took how many.
pub fn upload(source: &str, target: &str, len: &str) -> Result<(), String> {
    let (source, target): (IpAddr, SocketAddr) =
        (source.parse().map_err(text)?, target.parse().map_err(text)?);
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).map_err(text)?;
    socket.bind(&SocketAddr::new(source, 0).into()).map_err(text)?;
    socket.connect_timeout(&target.into(), WAIT_MAX).map_err(|error| format!("connect: {error}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT_MAX)).map_err(text)?;
    stream.set_write_timeout(Some(WAIT_MAX)).map_err(text)?;
    let (part, mut left) = (vec![0; PART_BYTES], len.parse::<usize>().map_err(text)?);
    while left > 0 {
        let sent = stream.write(&part[..left.min(PART_BYTES)]);
        left -= sent.map_err(|error| format!("with {left} bytes left: {error}"))?;
    }
    stream.shutdown(Shutdown::Write).map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("hear the answer: {error}"))?;
    println!("{answer}");
    Ok(())
}
