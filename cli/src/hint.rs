//! Cures: from an engine's error to what a person does next. Written here, once.

use std::io;

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
        Error::Temporary { .. } => "set TMPDIR to a directory with room, and run again",
        Error::Database { reason, .. } if reason.contains("TMPDIR") => return None,
        Error::Database { .. } => {
            "`ballast verify SNAPSHOT:PATH` says more; `ballast dump` gives the file as it is, and an \
             earlier snapshot may have a whole one"
        }
        Error::Usage(what) if what.ends_with("is a directory") => {
            "--archive tar writes a directory to standard output; `ballast restore` puts it in its place"
        }
        Error::Usage(what) if what.starts_with("--delete would") => {
            "name the directory that belongs there: latest:/srv -t /srv; \
             if its loss is meant, empty it first"
        }
        Error::Usage(what) if what.starts_with("--delete with /") => {
            "name the directory in the snapshot, too: `ballast restore SNAPSHOT:/srv/models -t /srv/models --delete`"
        }
        Error::Usage(what) if what.starts_with("--strip-components") => {
            "leave fewer names away, or name one directory: `ballast restore SNAPSHOT:/srv/models`"
        }
        Error::Lost { .. } => "--salvage gives the rest, with zeros in the place of what is lost",
        Error::NotFound { what } if what.starts_with("snapshot") || what.contains("a snapshot") => {
            "`ballast snapshots` lists what there is"
        }
        Error::NotFound { what } if what.starts_with("key") => "`ballast key list` lists what there is",
        Error::NotFound { what } if what.starts_with("tensor ") => {
            "`ballast tensors SNAPSHOT:PATH` lists what there is"
        }
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
        Error::Io { source, .. } => return of_system(source).map(str::to_owned),
        Error::Usage(message) => return of_usage(message).map(str::to_owned),
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

/// What the system said of a path of this machine.
pub fn of_system(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as K;
    Some(match error.kind() {
        K::NotFound => "is it spelled right, and is the disk mounted?",
        K::PermissionDenied => "check owner and mode there, or run as a user who may",
        K::ReadOnlyFilesystem => "it is mounted read-only: give a place that can be written to",
        K::NotADirectory => "a directory is needed there: give another path",
        K::IsADirectory => "a file is needed there: give another path",
        K::StorageFull | K::QuotaExceeded => "make room there and run again",
        _ => return None,
    })
}

/// Arguments that only the repository could judge, by what the engine says of them.
fn of_usage(message: &str) -> Option<&'static str> {
    let cures = [
        ("is no SQLite database", "`ballast verify SNAPSHOT` finds every database of a snapshot"),
        ("the statement was not run", "give one statement that only reads, such as SELECT, in quotes"),
        (" tensors fit", "name one, or write them as one file: --as safetensors"),
        ("which safetensors does not have", "without --as its bytes are written as they are"),
        ("no tensors that are known", "`ballast ls -l SNAPSHOT:DIRECTORY` shows what lies beside it"),
        ("holds no model directly", "`ballast find '*.safetensors'` shows where there are some"),
        ("pattern", "patterns are those of .gitignore; quote them, or the shell expands them"),
        ("is a directory", "`ballast restore SNAPSHOT:PATH -t DIR` gives directories back"),
        ("of another repository", "check -r: the page names the repository that it belongs to"),
        ("is ambiguous", "give more digits"),
    ];
    cures.iter().find(|(words, _)| message.contains(words)).map(|(_, cure)| *cure)
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

/// Standard output cannot be written to.
pub const OUTPUT: &str = "is there room where it goes? what was written so far is not whole";

/// No place was given.
pub const NO_PLACE: &str = "say where it is: -r DIR, or set BALLAST_REPOSITORY";

/// No password, and nobody to ask.
pub const NO_PASSWORD: &str = "set BALLAST_PASSWORD, or give --password-file or --password-command";

/// A page that cannot be read.
pub const NO_PAGE: &str = "give the file that `ballast key export` wrote, or - for standard input";

/// What to do with a page that was typed from paper.
pub const MISREAD: &str = "compare that line with the paper; O and 0, I and 1, B and 8 count as the same";
