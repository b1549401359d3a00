//! Who runs the server. PostgreSQL refuses root, so root gives the cluster to another user: `SUDO_USER` (whoever
//! typed `sudo` can reach their own folders), else `postgres`, else `nobody`.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, User};

use crate::{Error, Progress};

/// Where clusters go whose wanted place the server's user can't reach.
const FALLBACK_ROOT: &str = "/var/tmp";

/// The user that runs PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Us.
    Own,
    /// Somebody else, because we are root.
    Other {
        /// The name, for messages.
        name: String,
        /// The user.
        uid: u32,
        /// The user's group.
        gid: u32,
    },
}

impl Account {
    /// Us, unless we are root.
    pub fn choose() -> Result<Account, Error> {
        if !Uid::effective().is_root() {
            return Ok(Account::Own);
        }
        let sudo_user = std::env::var("SUDO_USER").ok();
        let names = sudo_user.iter().map(String::as_str).chain(["postgres", "nobody"]);
        names
            .filter_map(|name| User::from_name(name).ok().flatten())
            .find(|user| !user.uid.is_root())
            .map(|user| Account::Other {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
            .ok_or(Error::NoAccount)
    }

    /// A command that this account runs.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Account::Other { uid, gid, .. } = self {
            // The standard library drops the supplementary groups as well, when root sets a uid.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Makes the account the owner of `path` and all below it.
    pub fn own(&self, path: &Path) -> Result<(), Error> {
        let Account::Other { uid, gid, .. } = self else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        let what = || format!("giving {} to the server's user", path.display());
        let mut pending = vec![path.to_owned()];
        while let Some(path) = pending.pop() {
            std::os::unix::fs::lchown(&path, Some(uid.as_raw()), Some(gid.as_raw())).map_err(Error::io(what()))?;
            if path.symlink_metadata().map_err(Error::io(what()))?.is_dir() {
                for entry in path.read_dir().map_err(Error::io(what()))? {
                    pending.push(entry.map_err(Error::io(what()))?.path());
                }
            }
        }
        Ok(())
    }

    /// `wanted`, or, if the account can't get there, a directory of the same meaning where it can.
    pub fn usable_dir(&self, wanted: &Path, progress: &Progress) -> PathBuf {
        let Account::Other { name, uid, gid } = self else {
            return wanted.to_owned();
        };
        let Some(blocking) = wanted
            .ancestors()
            .skip(1)
            .filter(|dir| dir.exists())
            .find(|dir| !enters(dir, *uid, *gid))
        else {
            return wanted.to_owned();
        };
        let fallback = Path::new(FALLBACK_ROOT).join(format!("sagaline-{:016x}", fingerprint(wanted)));
        let fallback = fallback.join("postgres");
        progress(&format!(
            "PostgreSQL can't run as root and the user {name} can't enter {}; keeping the database in {}",
            blocking.display(),
            fallback.display()
        ));
        fallback
    }

    /// Whether the account can enter every directory above `path`.
    pub fn reaches(&self, path: &Path) -> bool {
        match self {
            Account::Own => true,
            Account::Other { uid, gid, .. } => path
                .ancestors()
                .skip(1)
                .filter(|dir| dir.exists())
                .all(|dir| enters(dir, *uid, *gid)),
        }
    }
}

/// Whether the mode bits let a user pass through a directory. Access lists aside, which can only make the answer too
/// careful.
fn enters(dir: &Path, uid: u32, gid: u32) -> bool {
    let Ok(meta) = dir.metadata() else { return false };
    let shift = if meta.uid() == uid {
        6
    } else if meta.gid() == gid {
        3
    } else {
        0
    };
    (meta.mode() >> shift) & 1 == 1
}

/// Names a fallback directory after the wanted one (FNV-1a), so that a restart finds its data again.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use super::*;

    fn somebody() -> Account {
        Account::Other {
            name: "somebody".into(),
            uid: 54_321,
            gid: 54_321,
        }
    }

    #[test]
    fn a_closed_parent_sends_the_cluster_elsewhere_and_says_so() {
        let closed = tempfile::tempdir().unwrap();
        std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let progress: Progress = Arc::new({
            let said = said.clone();
            move |line: &str| said.lock().unwrap().push(line.to_owned())
        });
        let wanted = closed.path().join("data");
        let usable = somebody().usable_dir(&wanted, &progress);
        assert!(usable.starts_with(FALLBACK_ROOT));
        assert_eq!(
            usable,
            somebody().usable_dir(&wanted, &progress),
            "a restart finds the same place"
        );
        assert!(said.lock().unwrap()[0].contains("somebody can't enter"));
    }

    #[test]
    fn an_open_parent_is_used() {
        let open = tempfile::tempdir().unwrap();
        std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let wanted = open.path().join("data");
        assert_eq!(
            somebody().usable_dir(&wanted, &(Arc::new(|_: &str| ()) as Progress)),
            wanted
        );
    }
}
