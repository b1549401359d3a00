//! Apache Kafka as a child process, for tests and benchmarks: one broker that is its own controller (KRaft).
//!
//! Its jars come from Maven Central ([`available`] tells whether that works here). The process ends with ours: it is killed
//! when its handle is dropped, and, where `setpriv` is there, by the kernel should we be killed ourselves.

mod jars;

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::config::KafkaConfig;
use crate::error::TransportError;

pub use jars::{HOME_VARIABLE, KAFKA_VERSION, available};

/// How long the broker may take to answer; a laptop needs 3 s, a busy build machine much more.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long an orderly end may take before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often is looked whether it answers, or has ended.
const POLL: Duration = Duration::from_millis(100);
/// The broker's heap: enough for a benchmark, little enough for a shared machine.
const HEAP: &str = "-Xmx512m";
/// Threads for the broker's sockets, and as many for its requests. The defaults (3 and 8) are a server's of its own; where
/// broker, Postgres and everybody else share a few cores they only wake each other (measured: a fifth of its processor time).
const THREADS: u32 = 1;
/// Partitions of topics made on first use, and of nothing else.
const PARTITIONS_DEFAULT: u32 = 10;

/// A running Apache Kafka; killed when dropped. Its data stays where it is.
pub struct ApacheKafka {
    data: PathBuf,
    jars: PathBuf,
    port: u16,
    compiler: Compiler,
    running: Option<Running>,
}

/// How much the JVM makes of the broker's code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// Compiled once and quickly. For a busy broker that lives for minutes, in which the optimising compiler would take more
    /// processor time than it gives back (measured: a third of the broker's after a warm-up of ten seconds).
    #[default]
    Quick,
    /// As any broker runs that lives for days. For a broker that has little to do and shall do it fast.
    Optimising,
}

impl Compiler {
    fn flag(self) -> &'static str {
        match self {
            Compiler::Quick => "-XX:TieredStopAtLevel=1",
            Compiler::Optimising => "-XX:TieredStopAtLevel=4",
        }
    }
}

struct Running {
    pid: Pid,
    ended: mpsc::Receiver<()>,
    keeper: JoinHandle<()>,
}

impl ApacheKafka {
    /// Starts one on `data_dir` (made if need be), listening on this port of 127.0.0.1, or on a free one if it is 0; waits until it answers.
    ///
    /// # Errors
    /// If its jars can't be fetched, or it does not start; says where its log is.
    pub async fn start(data_dir: &Path, port: u16) -> Result<Self, TransportError> {
        Self::start_compiled(data_dir, port, Compiler::default()).await
    }

    /// The same, with this compiler.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_compiled(data_dir: &Path, port: u16, compiler: Compiler) -> Result<Self, TransportError> {
        let data_dir = data_dir.to_owned();
        blocking(move || {
            let jars = jars::fetch()?;
            let (port, controller_port) = (free_port(port)?, free_port(0)?);
            fs::create_dir_all(&data_dir).map_err(|error| cannot("create", &data_dir, &error))?;
            let data = data_dir
                .canonicalize()
                .map_err(|error| cannot("open", &data_dir, &error))?;
            let mut kafka = ApacheKafka {
                data,
                jars,
                port,
                compiler,
                running: None,
            };
            kafka.write("server.properties", &properties(&kafka.data, port, controller_port))?;
            kafka.write("log4j2.properties", LOGGING)?;
            kafka.format()?;
            kafka.launch()?;
            Ok(kafka)
        })
        .await
    }

    /// `host:port` to connect to; the same after a restart.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How to reach it.
    pub fn config(&self, client_id: &str) -> KafkaConfig {
        KafkaConfig::new(self.brokers(), client_id)
    }

    /// The broker's process, if it runs: to measure what it costs.
    pub fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.pid.as_raw())
    }

    /// Ends it in order (SIGTERM), or kills it should that take too long. Its data stays.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end(Signal::SIGTERM);
        }
    }

    /// Kills it in the middle of whatever it does (SIGKILL). Its data stays.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.end(Signal::SIGKILL);
        }
    }

    /// Starts it again on the same data and port, after ending it in order if it still runs.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(mut self) -> Result<Self, TransportError> {
        blocking(move || {
            self.stop();
            self.launch()?;
            Ok(self)
        })
        .await
    }

    /// The same, but without its data: all messages, topics and committed offsets are lost.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart_empty(mut self) -> Result<Self, TransportError> {
        blocking(move || {
            self.stop();
            let logs = self.data.join("logs");
            fs::remove_dir_all(&logs).map_err(|error| cannot("remove", &logs, &error))?;
            self.format()?;
            self.launch()?;
            Ok(self)
        })
        .await
    }

    fn write(&self, name: &str, content: &str) -> Result<(), TransportError> {
        let path = self.data.join(name);
        fs::write(&path, content).map_err(|error| cannot("write", &path, &error))
    }

    /// Prepares the storage, unless it is prepared.
    fn format(&self) -> Result<(), TransportError> {
        if self.data.join("logs").join("meta.properties").exists() {
            return Ok(());
        }
        let cluster = uuid::Uuid::new_v4().simple().to_string()[..22].to_owned();
        let output = self
            .java(&["-Xmx128m", "-XX:TieredStopAtLevel=1"])
            .args([
                "kafka.tools.StorageTool",
                "format",
                "--ignore-formatted",
                "--cluster-id",
                &cluster,
                "--config",
            ])
            .arg(self.data.join("server.properties"))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| TransportError::Apache(format!("can't run java: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(TransportError::Apache(format!(
            "its storage can't be formatted: {}",
            String::from_utf8_lossy(&said).trim()
        )))
    }

    fn launch(&mut self) -> Result<(), TransportError> {
        let log_path = self.data.join("kafka.log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(|error| cannot("write", &log_path, &error))?;
        let command = self
            .broker_command(&log)
            .map_err(|error| cannot("write", &log_path, &error))?;
        let running = Running::spawn(command)?;
        let said = || tail(&log_path);
        let begun = Instant::now();
        while !self.answers() {
            if running.has_ended() {
                return Err(TransportError::Apache(format!(
                    "it ended at once; its log says: {}",
                    said()
                )));
            }
            if begun.elapsed() > START_TIMEOUT {
                running.end(Signal::SIGKILL);
                let waited_s = START_TIMEOUT.as_secs();
                return Err(TransportError::Apache(format!(
                    "it did not answer for {waited_s} s; its log says: {}",
                    said()
                )));
            }
            std::thread::sleep(POLL);
        }
        self.running = Some(running);
        Ok(())
    }

    fn broker_command(&self, log: &File) -> std::io::Result<Command> {
        let mut command = self.java(&[
            HEAP,
            self.compiler.flag(),
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
        ]);
        command.arg("kafka.Kafka").arg(self.data.join("server.properties"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        // A group of its own: Ctrl-C in our terminal is ours to handle, and killing the group leaves nothing behind.
        command.process_group(0);
        Ok(command)
    }

    /// `java` with the jars. Through `setpriv`, where it is there, so that the kernel kills it with the thread that started it.
    fn java(&self, options: &[&str]) -> Command {
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "java"]);
            command
        } else {
            Command::new("java")
        };
        let logging = format!(
            "-Dlog4j2.configurationFile={}",
            self.data.join("log4j2.properties").display()
        );
        command
            .args(options)
            .arg(logging)
            .arg("-cp")
            .arg(self.jars.join("*"))
            .current_dir(&self.data);
        command
    }

    fn answers(&self) -> bool {
        let mut client = self.config("sagaline-start").client();
        client.set("socket.connection.setup.timeout.ms", "1000");
        // A refused connection is what is expected here, and no news.
        client.set("log_level", "0");
        let probe: Result<BaseConsumer<Silent>, _> = client.create_with_context(Silent);
        probe.is_ok_and(|probe| {
            let metadata = probe.fetch_metadata(None, Duration::from_millis(500));
            metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
        })
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// The kernel watches the *thread* that starts a child, so that thread must live as long as the child shall.
    fn spawn(mut command: Command) -> Result<Self, TransportError> {
        let (started, starting) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let keeper = std::thread::Builder::new()
            .name("kafka-keeper".into())
            .spawn(move || {
                let child: std::io::Result<Child> = command.spawn();
                match child {
                    Ok(mut child) => {
                        let _ = started.send(Ok(Pid::from_raw(child.id() as i32)));
                        let _ = child.wait();
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
                drop(end);
            })
            .map_err(|error| TransportError::Apache(format!("can't start a thread: {error}")))?;
        let pid = starting
            .recv()
            .map_err(|_| TransportError::Apache("it was not started".into()))?
            .map_err(|error| TransportError::Apache(format!("can't run java: {error}")))?;
        Ok(Running { pid, ended, keeper })
    }

    fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(mpsc::TryRecvError::Disconnected))
    }

    fn end(self, signal: Signal) {
        let _ = killpg(self.pid, signal);
        if let Err(mpsc::RecvTimeoutError::Timeout) = self.ended.recv_timeout(STOP_TIMEOUT) {
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        let _ = self.keeper.join();
    }
}

/// For the probe at start alone.
struct Silent;

impl rdkafka::ClientContext for Silent {
    fn log(&self, _level: rdkafka::config::RDKafkaLogLevel, _facility: &str, _message: &str) {}
    fn error(&self, _error: rdkafka::error::KafkaError, _reason: &str) {}
}

impl rdkafka::consumer::ConsumerContext for Silent {}

fn properties(data: &Path, port: u16, controller_port: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={logs}\n\
         num.partitions={PARTITIONS_DEFAULT}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.num.partitions=4\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads={THREADS}\n\
         num.io.threads={THREADS}\n\
         controlled.shutdown.enable=false\n",
        logs = data.join("logs").display(),
    )
}

const LOGGING: &str = "status=error\n\
    appender.out.type=Console\n\
    appender.out.name=out\n\
    appender.out.layout.type=PatternLayout\n\
    appender.out.layout.pattern=%d %p %c %m%n\n\
    rootLogger.level=warn\n\
    rootLogger.appenderRef.out.ref=out\n";

fn free_port(wanted: u16) -> Result<u16, TransportError> {
    if wanted != 0 {
        return Ok(wanted);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| TransportError::Apache(format!("there is no free port: {error}")))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn cannot(doing: &str, path: &Path, error: &std::io::Error) -> TransportError {
    TransportError::Apache(format!("can't {doing} {}: {error}", path.display()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransportError> + Send + 'static,
) -> Result<T, TransportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TransportError::Closed)?
}
