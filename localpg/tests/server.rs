//! Servers that are started, killed, left behind and found again.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use localpg::{Error, LocalPostgres, Options};

/// A directory that the server's user can enter too, should we be root.
fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("localpg-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn options(dir: &Path) -> Options {
    Options::new(dir.join("postgres"))
}

/// Whether something on that port speaks PostgreSQL: asked for TLS, it says no with one letter.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        Ok(answer[0])
    };
    ask().is_ok_and(|answer| answer == b'N' || answer == b'S')
}

#[tokio::test]
async fn it_starts_stops_and_starts_again_on_the_same_data() {
    let dir = open_dir();
    let mut server = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert!(answers(server.port()));
    assert!(
        server
            .url("shop")
            .ends_with(&format!("@127.0.0.1:{}/shop", server.port()))
    );
    server.stop();
    assert!(!answers(server.port()));
    std::fs::write(server.data_dir().join("witness"), "").unwrap();
    drop(server);

    let server = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert!(server.data_dir().join("witness").exists(), "the data is the same");
    drop(server);

    let fresh = Options {
        fresh: true,
        ..options(dir.path())
    };
    let server = LocalPostgres::start(fresh).await.unwrap();
    assert!(!server.data_dir().join("witness").exists(), "the data is new");
}

#[tokio::test]
async fn it_comes_back_on_the_same_port_after_a_crash() {
    let dir = open_dir();
    let mut server = LocalPostgres::start(options(dir.path())).await.unwrap();
    let port = server.port();
    let first = server.pid();
    server.restart_immediate().unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), first);
    assert!(answers(port));

    server.kill();
    assert_eq!(server.pid(), None);
    server.resume().unwrap();
    assert!(answers(port));
}

#[tokio::test]
async fn a_server_that_was_left_behind_is_stopped_first() {
    let dir = open_dir();
    let server = LocalPostgres::start(options(dir.path())).await.unwrap();
    let (port, data_dir) = (server.port(), server.data_dir().to_owned());
    // What a killed owner leaves where nothing tells the server: it runs on, and nobody holds the lock.
    let pid_file = std::fs::read(data_dir.join("postmaster.pid")).unwrap();
    std::mem::forget(server);
    std::fs::remove_file(data_dir.with_extension("lock")).unwrap();

    let next = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert_ne!(next.port(), port);
    assert!(!answers(port) && answers(next.port()));
    drop(next);

    // A pid file whose process is somebody else: ours.
    let mut stale = std::process::id().to_string().into_bytes();
    stale.extend(pid_file.iter().skip_while(|byte| **byte != b'\n'));
    std::fs::write(data_dir.join("postmaster.pid"), stale).unwrap();
    let next = LocalPostgres::start(options(dir.path())).await.unwrap();
    assert!(answers(next.port()));
}

#[tokio::test]
async fn two_owners_are_one_too_many() {
    let dir = open_dir();
    let server = LocalPostgres::start(options(dir.path())).await.unwrap();
    let second = LocalPostgres::start(options(dir.path())).await;
    assert!(matches!(second, Err(Error::InUse { .. })));
    assert!(answers(server.port()), "the first is left in peace");
}

#[tokio::test]
async fn data_of_another_major_version_is_refused_and_named() {
    let dir = open_dir();
    let data_dir = options(dir.path()).data_dir;
    let server = LocalPostgres::start(options(dir.path())).await.unwrap();
    drop(server);
    std::fs::write(data_dir.join("PG_VERSION"), "11\n").unwrap();
    let bin_dir = std::process::Command::new("pg_config").arg("--bindir").output();
    let Ok(bin_dir) = bin_dir else { return };
    let bin_dir = String::from_utf8(bin_dir.stdout).unwrap().trim().into();
    let refused = LocalPostgres::start(Options {
        bin_dir: Some(bin_dir),
        ..options(dir.path())
    })
    .await;
    assert!(matches!(refused, Err(Error::OtherMajor { found: 11, .. })));
}
