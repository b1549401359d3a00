//! A ClickHouse of one test's own: Debian's `clickhouse-server`, on a port of this machine, in a folder that goes with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program; Debian's package has its name too.
const PROGRAM: &str = "clickhouse-server";
/// How long it may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(50);
/// Its user's, so that what reaches it had to say it.
const PASSWORD: &str = "s:e@cret";

/// A server; gone, with its files, when this is dropped.
pub struct ClickHouseServer {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl ClickHouseServer {
    /// Starts one. None: the program is not installed ([`crate::require`]).
    pub fn start() -> Option<ClickHouseServer> {
        if !crate::require(PROGRAM) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for the server");
        // It can't say which port it was given, so it is told one that was free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of this machine");
        let port = free.local_addr().expect("a bound listener").port();
        drop(free);
        let at = folder.path().display();
        let config = format!(
            "<yandex><logger><level>error</level><console>1</console></logger>
             <listen_host>127.0.0.1</listen_host><http_port>{port}</http_port>
             <path>{at}/data/</path><tmp_path>{at}/tmp/</tmp_path>
             <user_files_path>{at}/files/</user_files_path><format_schema_path>{at}/schemas/</format_schema_path>
             <mark_cache_size>16777216</mark_cache_size><users_config>{at}/users.xml</users_config>
             <default_profile>default</default_profile><default_database>default</default_database></yandex>"
        );
        let users = format!(
            "<yandex><profiles><default></default></profiles><quotas><default></default></quotas>
             <users><tester><password>{PASSWORD}</password><networks><ip>127.0.0.1</ip></networks>
             <profile>default</profile><quota>default</quota></tester></users></yandex>"
        );
        for name in ["data", "tmp", "files", "schemas"] {
            std::fs::create_dir(folder.path().join(name)).expect("the folder is ours");
        }
        std::fs::write(folder.path().join("config.xml"), config).expect("the folder is ours");
        std::fs::write(folder.path().join("users.xml"), users).expect("the folder is ours");
        let log = std::fs::File::create(folder.path().join("log")).expect("the folder is ours");
        let process = Command::new(PROGRAM)
            .arg(format!("--config-file={at}/config.xml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log)
            .spawn()
            .expect("the program is there");
        let mut server = ClickHouseServer {
            port,
            process,
            _folder: folder,
        };
        server.wait();
        Some(server)
    }

    /// Where it is, as our settings want it.
    pub fn url(&self, database: &str) -> String {
        let password = PASSWORD.replace(':', "%3A").replace('@', "%40");
        format!("clickhouse://tester:{password}@127.0.0.1:{}/{database}", self.port)
    }

    fn wait(&mut self) {
        let until = Instant::now() + START_LIMIT;
        while !self.answers() {
            let log = || std::fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
            let ended = self.process.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "ClickHouse has ended ({ended:?}): {}", log());
            assert!(Instant::now() < until, "ClickHouse does not answer: {}", log());
            std::thread::sleep(POLL);
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
            stream.set_read_timeout(Some(POLL))?;
            stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n")?;
            let mut answer = [0; 64];
            let length = stream.read(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }
}

impl Drop for ClickHouseServer {
    fn drop(&mut self) {
        // It ends in its own time otherwise, and its files are to go.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
