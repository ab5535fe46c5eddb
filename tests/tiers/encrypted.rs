//! `rediss://`: a server that proves who it is, and one that cannot.

use super::*;
use servers::RedisServer;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a run of this very program as somebody who knows the authority finds the server.
const URL: &str = "PANNIER_TEST_REDISS_URL";

fn openssl(folder: &Path, arguments: &str) {
    let run =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).stderr(Stdio::null()).status();
    assert!(run.unwrap().success(), "openssl {arguments}");
}

/// An authority, and a server's certificate from it: `ca.crt`, `server.crt`, `server.key`.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder.path(),
        &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"),
    );
    openssl(folder.path(), &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    openssl(
        folder.path(),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 2 -extfile san -out server.crt",
    );
    folder
}

#[tokio::test]
async fn only_a_server_that_proves_who_it_is_is_used() {
    if let Ok(url) = std::env::var(URL) {
        let friend = House::over(&[&url]).await;
        friend.kept(1).await;
        return assert_answer(friend.find(1).await, 1);
    }
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("SKIPPED: there is no openssl on this machine");
    }
    let certificates = certificates();
    let place = |name: &str| certificates.path().join(name).display().to_string();
    let (certificate, key, authority) = (place("server.crt"), place("server.key"), place("ca.crt"));
    // A port of the system's choice is not to be had for TLS: the plain one moves away for it.
    let tls = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let server = RedisServer::start(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ]);
    let Some(server) = server else { return };
    let url = format!("rediss://localhost:{tls}");

    let stranger = House::over(&[&url]).await;
    stranger.kept(1).await;
    assert!(stranger.find(1).await.is_none());
    assert_eq!(size(&server), 0);

    // Which authorities are known is read from the environment, which only a new process can have.
    let friend = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "encrypted::only_a_server_that_proves_who_it_is_is_used"])
        .env("SSL_CERT_FILE", &authority)
        .env(URL, &url)
        .output()
        .unwrap();
    assert!(friend.status.success(), "{}", String::from_utf8_lossy(&friend.stdout));
    assert_eq!(size(&server), 1);
}
