//! Fetches Apache Kafka from Maven Central, once, into a cache that all processes of a user share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::TransportError;

/// The Apache Kafka that tests and benchmarks run on.
pub const KAFKA_VERSION: &str = "4.1.0";
/// Names the folder with the jars, if it shall not be under the user's cache folder.
pub const HOME_VARIABLE: &str = "SAGALINE_KAFKA_HOME";

/// The server, its command-line tools (to format its storage), and something to log with.
const POM: &str = include_str!("pom.xml");

/// Whether Apache Kafka can be run here; if not, what is missing.
///
/// # Errors
/// Says which program is missing.
pub fn available() -> Result<(), String> {
    if !runs("java", "-version") {
        return Err("Apache Kafka needs Java 17 or later, and `java` is not to be found".into());
    }
    if folder().join(COMPLETE).exists() || runs("mvn", "-v") {
        return Ok(());
    }
    Err(format!(
        "Apache Kafka is fetched with Maven, and `mvn` is not to be found (or put its jars and an empty file `{COMPLETE}` into {})",
        folder().display()
    ))
}

/// Marks a folder whose jars are all there.
const COMPLETE: &str = "complete";

/// The folder with all jars, fetched if need be. Blocks, for a minute perhaps the first time.
pub(super) fn fetch() -> Result<PathBuf, TransportError> {
    let folder = folder();
    if folder.join(COMPLETE).exists() {
        return Ok(folder);
    }
    let said = |what: &str| {
        let what = format!("{what} {}", folder.display());
        move |error: std::io::Error| TransportError::Apache(format!("{what}: {error}"))
    };
    fs::create_dir_all(&folder).map_err(said("can't create"))?;
    // Two tests that start at once must not both fetch into the same folder.
    let lock = File::create(folder.join("lock")).map_err(said("can't write in"))?;
    lock.lock().map_err(said("can't lock"))?;
    if !folder.join(COMPLETE).exists() {
        tracing::info!(version = KAFKA_VERSION, folder = %folder.display(), "fetching Apache Kafka from Maven Central");
        fs::write(folder.join("pom.xml"), POM).map_err(said("can't write in"))?;
        copy_dependencies(&folder)?;
        File::create(folder.join(COMPLETE)).map_err(said("can't write in"))?;
    }
    Ok(folder)
}

fn copy_dependencies(folder: &Path) -> Result<(), TransportError> {
    let output = Command::new("mvn")
        .args([
            "--quiet",
            "--batch-mode",
            "--no-transfer-progress",
            "dependency:copy-dependencies",
        ])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| TransportError::Apache(format!("can't run mvn: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(TransportError::Apache(format!(
        "mvn could not fetch its jars: {}",
        String::from_utf8_lossy(&said).trim()
    )))
}

fn folder() -> PathBuf {
    if let Some(home) = std::env::var_os(HOME_VARIABLE) {
        return PathBuf::from(home);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    cache.join("sagaline").join("kafka").join(KAFKA_VERSION)
}

fn runs(program: &str, argument: &str) -> bool {
    let silent = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    silent.is_ok_and(|status| status.success())
}
