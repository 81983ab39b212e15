//! Cures: from an engine's error to what a person does next. Written here, once.

use ballast::error::{Error, StoreErrorKind};

use crate::secret::Source;

/// What to do about `error`, if anything general can be said.
pub fn cure(error: &Error) -> Option<String> {
    let text = match error {
        Error::NoRepository { .. } => {
            "check -r and BALLAST_REPOSITORY; is the disk mounted? \
             For a new repository: `ballast -r DIR init`, or `snapshot --init`"
        }
        Error::AlreadyExists { .. } => "use it as it is, or choose another place for a new one",
        Error::WrongPassword { .. } => "try again; nobody can recover a forgotten password",
        Error::UnknownFeatures { .. } | Error::ReadOnlyFeatures { .. } => {
            "use the newer version of ballast that wrote to this repository"
        }
        Error::Corrupt { object, .. } if object == "keys/" => {
            "bring a key back from its printed page: `ballast -r REPOSITORY key import PAGE`"
        }
        Error::Corrupt { .. } | Error::Missing { .. } => {
            "write nothing more to this repository before you have copied it; \
             what is not named here can still be restored"
        }
        Error::Database { reason, .. } if reason.contains("TMPDIR") => return None,
        Error::Database { .. } => {
            "`ballast verify SNAPSHOT:PATH` says more; `ballast dump` gives the file as it is, and an \
             earlier snapshot may have a whole one"
        }
        Error::Lost { .. } => "--salvage gives the rest, with zeros in the place of what is lost",
        Error::NotFound { what } if what.starts_with("snapshot") || what.contains("a snapshot") => {
            "`ballast snapshots` lists what there is"
        }
        Error::NotFound { what } if what.starts_with("key") => "`ballast key list` lists what there is",
        Error::NotFound { .. } => "`ballast ls SNAPSHOT` lists what is in a snapshot",
        Error::Ambiguous { .. } => "give more digits of the id",
        Error::RolledBack { .. } | Error::HistoryReplaced { .. } => {
            "if you put an older copy back yourself, say --accept-older-repository once; \
             if not, somebody removed snapshots: look before you write"
        }
        Error::NotWhole { .. } => {
            "`ballast check` says what is wrong, which files it touches, and what repairs it"
        }
        Error::Locked { .. } => {
            "wait until that run is done; if you know that it is dead, `ballast lock list` shows its \
             lease, and `ballast unlock --all SESSION` takes it away"
        }
        Error::NothingThere { .. } => "check the paths; is the disk mounted?",
        Error::Stream { .. } => "nothing was committed; earlier snapshots are untouched",
        Error::Overtaken { .. } => "run the same command again",
        Error::Interrupted => "run the same command again: it goes on with what was finished",
        Error::Internal(_) => "this should not happen; run again with -vv and report what it says",
        Error::Store(store) => match store.kind {
            StoreErrorKind::Full => {
                "make room there and run again; earlier snapshots are untouched, \
                 and what was finished is not sent twice"
            }
            StoreErrorKind::Denied => {
                "check owner and mode there, and whether it is mounted read-only; \
                 run as the user who owns the repository"
            }
            StoreErrorKind::Transient => "the place does not answer; try again later",
            _ => return None,
        },
        _ => return None,
    };
    Some(text.to_owned())
}

/// A wrong password is looked for where it came from.
pub fn wrong_password(source: &Source) -> String {
    match source {
        Source::Prompt => {
            "check Caps Lock and keyboard layout; nobody can recover a forgotten password".into()
        }
        other => format!("the password came from {other}; is it the one of this repository?"),
    }
}

/// No place was given.
pub const NO_PLACE: &str = "say where it is: -r DIR, or set BALLAST_REPOSITORY";

/// No password, and nobody to ask.
pub const NO_PASSWORD: &str = "set BALLAST_PASSWORD, or give --password-file or --password-command";

/// What to do with a page that was typed from paper.
pub const MISREAD: &str = "compare that line with the paper; O and 0, I and 1, B and 8 count as the same";
