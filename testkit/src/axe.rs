//! axe-core, which finds what keeps people with disabilities out: fetched from the npm registry at a pinned version, checked by
//! its digest and kept in the target folder. It is MPL-2.0 and no part of what we ship.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

const VERSION: &str = "4.10.3";
/// Of `axe.min.js` in that version's package.
const DIGEST: &str = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb";
/// A file to take instead of fetching one, for machines without a registry.
const VARIABLE: &str = "SAGALINE_AXE";

/// Its source, kept in this folder. None: it can't be had, which was said; under `CI=true` that is a failure.
pub fn source(folder: &Path) -> Option<&'static str> {
    static SOURCE: OnceLock<Option<String>> = OnceLock::new();
    SOURCE.get_or_init(|| find(folder)).as_deref()
}

fn find(folder: &Path) -> Option<String> {
    let kept = folder.join(format!("axe-core-{VERSION}.js"));
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    let source = [given, Some(kept.clone())]
        .into_iter()
        .flatten()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .or_else(fetch)?;
    assert_eq!(
        hex::encode(Sha256::digest(&source)),
        DIGEST,
        "this is not axe-core {VERSION}"
    );
    // By way of a name of its own: another run may be writing the same file.
    let own = kept.with_extension(std::process::id().to_string());
    std::fs::write(&own, &source).expect("the target folder is ours");
    std::fs::rename(&own, &kept).expect("both are in one folder");
    Some(source)
}

fn fetch() -> Option<String> {
    if !crate::require("npm") || !crate::require("tar") {
        return None;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let packed = Command::new("npm")
        .args(["pack", "--silent", &format!("axe-core@{VERSION}")])
        .current_dir(&dir)
        .output()
        .expect("npm is there");
    if !packed.status.success() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        let why = String::from_utf8_lossy(&packed.stderr).into_owned();
        assert!(
            !ci,
            "axe-core can't be fetched, and under CI=true no test may be skipped: {why}"
        );
        eprintln!("SKIPPED: axe-core can't be fetched: {why}");
        return None;
    }
    let unpacked = Command::new("tar")
        .args(["xzf", &format!("axe-core-{VERSION}.tgz"), "package/axe.min.js"])
        .current_dir(&dir)
        .status()
        .expect("tar is there");
    assert!(unpacked.success());
    std::fs::read_to_string(dir.path().join("package/axe.min.js")).ok()
}
