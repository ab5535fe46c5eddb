//! `pannier healthcheck`: does the Pannier that runs with these settings live? For containers without curl.

use anyhow::{Context, bail, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// From the first packet to the last.
const DEADLINE: Duration = Duration::from_secs(3);

/// Asks the listener of the house routes: it answers while all connections of the other one are taken, and
/// a Pannier that has much to do must not be called dead.
pub(super) fn run(admin_listen: SocketAddr) -> anyhow::Result<()> {
    let address = dialled(admin_listen);
    ensure!(address.port() != 0, "server.admin_listen has port 0: nobody can know which one is in use");
    let status = ask(address).with_context(|| format!("no answer from http://{address}/livez"))?;
    ensure!(status == 200, "http://{address}/livez answered {status}");
    Ok(())
}

/// An address that is bound on every interface is reached on loopback.
pub(super) fn dialled(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

/// The status of the answer.
fn ask(address: SocketAddr) -> anyhow::Result<u16> {
    let end = Instant::now() + DEADLINE;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut buffer = [0; 256];
    while !head.contains(&b'\n') && head.len() < 4096 {
        let left = end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "timed out");
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => bail!("the connection was closed"),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    read_status(&head).context("the answer is not HTTP")
}

/// `HTTP/1.1 200 OK`
fn read_status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\n').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    version.starts_with("HTTP/1.").then_some(())?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// A server that answers one request with these pieces; its address, and what it was asked.
    fn serve(pieces: &'static [&'static str]) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while !asked.ends_with("\r\n\r\n") {
                lines.read_line(&mut asked).unwrap();
            }
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
            }
            asked
        });
        (address, asked)
    }

    #[test]
    fn a_living_one_is_asked_for_livez() {
        let (address, asked) = serve(&["HTTP/1.1 2", "00 OK\r\n", "\r\nok"]);
        run(address).unwrap();
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:"), "{asked}");
    }

    #[test]
    fn everything_else_is_a_failure() {
        for (pieces, expected) in [
            (&["HTTP/1.1 503 Service Unavailable\r\n\r\n"] as &'static [&'static str], "answered 503"),
            (&["SSH-2.0-OpenSSH\r\n"], "not HTTP"),
            (&[], "no answer"),
        ] {
            let (address, asked) = serve(pieces);
            let error = format!("{:#}", run(address).unwrap_err());
            assert!(error.contains(expected), "{error}");
            asked.join().unwrap();
        }
    }

    #[test]
    fn nobody_there_is_a_failure_at_once() {
        let (mut address, asked) = serve(&["HTTP/1.1 200 OK\r\n\r\n"]);
        run(address).unwrap();
        asked.join().unwrap();
        assert!(run(address).is_err());
        address.set_port(0);
        assert!(format!("{:#}", run(address).unwrap_err()).contains("port 0"));
    }

    #[test]
    fn every_interface_is_reached_on_loopback() {
        assert_eq!(dialled("0.0.0.0:8001".parse().unwrap()), "127.0.0.1:8001".parse().unwrap());
        assert_eq!(dialled("[::]:8001".parse().unwrap()), "[::1]:8001".parse().unwrap());
        assert_eq!(dialled("10.1.2.3:8001".parse().unwrap()), "10.1.2.3:8001".parse().unwrap());
    }
}
