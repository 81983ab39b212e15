//! From what was typed to an opened repository: place, store, password, cache.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::error::Error;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::Store;
use ballast::store::fs::Fs;
use ballast::store::limit::LimitFs;
use ballast::store::local::LocalStore;
use ballast::store::os_fs::OsFs;
use ballast::store::retry::{RetryPolicy, RetryStore};

use crate::exit::{Exit, Failure};
use crate::hint;
use crate::io::Io;
use crate::output::name;
use crate::printer::Printer;
use crate::secret::{self, Password, Source, Ways};
use crate::whom;

/// The store at the place that was given.
pub fn store(p: &mut Printer<'_>) -> Result<Arc<dyn Store>, Failure> {
    let given = p.global.repo.clone().or_else(|| p.io.env.get("BALLAST_REPOSITORY").map(PathBuf::from));
    let given = given.ok_or_else(|| Failure::usage("no repository was given", hint::NO_PLACE))?;
    let path = local_path(given.as_os_str())?;
    let path = whom::absolute(p.io, path)?;
    let place = name(path.as_os_str().as_bytes());
    if path.metadata().is_ok_and(|meta| !meta.is_dir()) {
        let failure = Failure::failed(format!("{place} is not a directory, so it is no repository"));
        return Err(Failure { exit: Exit::NoRepository, ..failure.with_hint(hint::NO_PLACE) });
    }
    p.place = Some(place);
    let mut fs: Arc<dyn Fs> = Arc::new(OsFs::new());
    if p.limits.read.is_some() || p.limits.write.is_some() {
        fs = Arc::new(LimitFs::new(fs, p.limits.read.clone(), p.limits.write.clone()));
    }
    Ok(Arc::new(RetryStore::new(Arc::new(LocalStore::with_fs(fs, path)?), RetryPolicy::default())))
}

/// The directory that a place means. What looks like another machine is refused: nobody
/// wants a directory named `s3:bucket` in his home.
fn local_path(given: &OsStr) -> Result<&Path, Failure> {
    let bytes = given.as_bytes();
    for prefix in [&b"file://"[..], b"local:"] {
        if let Some(rest) = bytes.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
            return Ok(Path::new(OsStr::from_bytes(rest)));
        }
    }
    let first = bytes.split(|b| *b == b'/').next().unwrap_or_default();
    if first.contains(&b':') {
        let shown = name(bytes);
        return Err(Failure::usage(
            format!("{shown} is not a local directory, and those are all this version can use"),
            format!("mount it and give its path; or, if it is the name of a directory: ./{shown}"),
        ));
    }
    if bytes.is_empty() {
        return Err(Failure::usage("no repository was given", hint::NO_PLACE));
    }
    Ok(Path::new(given))
}

/// Cache directory and identity.
pub fn open_options(p: &Printer<'_>) -> OpenOptions {
    OpenOptions {
        cache_dir: cache_dir(p),
        accept_older: p.global.accept_older_repository,
        identity: whom::identity(p.io),
    }
}

/// As the XDG base directories have it; nothing without a home, as under cron.
fn cache_dir(p: &Printer<'_>) -> Option<PathBuf> {
    if p.global.no_cache {
        return None;
    }
    let variable = |name| p.io.env.get(name).map(PathBuf::from);
    let own = p.global.cache_dir.clone().or_else(|| variable("BALLAST_CACHE_DIR"));
    if let Some(dir) = own {
        return whom::absolute(p.io, &dir).ok();
    }
    let xdg = variable("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    // What systemd gives a service with CacheDirectory=, which has no home.
    let service = || {
        let given = variable("CACHE_DIRECTORY")?;
        let first = given.as_os_str().as_bytes().split(|byte| *byte == b':').next()?;
        Some(PathBuf::from(OsStr::from_bytes(first))).filter(|dir| dir.is_absolute())
    };
    let home = || variable("HOME").filter(|dir| dir.is_absolute()).map(|home| home.join(".cache"));
    xdg.or_else(home).map(|dir| dir.join("ballast")).or_else(service)
}

/// Says so where there is no place for a cache: the run is slower, and is told no cure otherwise.
pub fn note_missing_cache(p: &Printer<'_>) {
    if !p.global.no_cache && cache_dir(p).is_none() {
        p.note(
            "without HOME there is no place for a cache, and every run reads the index anew: \
             set BALLAST_CACHE_DIR, or say --no-cache",
        );
    }
}

/// The repository's password without asking, if any was given.
fn given(p: &Printer<'_>) -> Result<Option<(Password, Source)>, Failure> {
    let ways = Ways {
        file: p.global.password_file.as_deref(),
        command: p.global.password_command.as_deref(),
        variables: secret::VARIABLES,
    };
    secret::given(ways, p.io)
}

/// Opens the repository, asking for its password up to three times. Whether there is one at
/// all is found out before anybody is asked.
pub fn open(p: &mut Printer<'_>) -> Result<Repository, Failure> {
    let store = store(p)?;
    open_in(p, store)
}

/// The same, in a store that is known.
pub fn open_in(p: &mut Printer<'_>, store: Arc<dyn Store>) -> Result<Repository, Failure> {
    open_while(p, store, || {})
}

/// The same; `meanwhile` begins what goes on while keys are derived: there is a repository, and a password was given.
pub fn open_while(
    p: &mut Printer<'_>,
    store: Arc<dyn Store>,
    meanwhile: impl FnOnce(),
) -> Result<Repository, Failure> {
    if !Repository::exists(store.as_ref())? {
        return Err(Error::NoRepository { location: store.location() }.into());
    }
    let options = open_options(p);
    let surroundings = p.io.surroundings.clone();
    let mut meanwhile = Some(meanwhile);
    let mut open = |password: &Password| {
        meanwhile.take().into_iter().for_each(|begin| begin());
        Repository::open(store.clone(), password, &options, surroundings.clone())
    };
    let wrong = |error: Error, source: &Source| match error {
        Error::WrongPassword { .. } => Failure::from(error).with_hint(hint::wrong_password(source)),
        error => error.into(),
    };
    let opened = match given(p)? {
        Some((password, source)) => open(&password).map_err(|e| wrong(e, &source)),
        None => {
            let text = format!("Password of {}: ", name(store.location().as_bytes()));
            let mut tries = 1;
            loop {
                match open(&secret::ask(p.io, &text)?) {
                    Err(Error::WrongPassword { .. }) if tries < secret::TRIES => {
                        p.io.err.line("That is not it; try again.");
                        tries += 1;
                    }
                    result => break result.map_err(|e| wrong(e, &Source::Prompt)),
                }
            }
        }
    };
    let repo = opened?;
    notices(p, &repo);
    Ok(repo)
}

/// Makes a repository; a password that is typed is typed twice.
pub fn init(p: &mut Printer<'_>, store: Arc<dyn Store>, label: &str) -> Result<Repository, Failure> {
    if Repository::exists(store.as_ref())? {
        return Err(Error::AlreadyExists { location: store.location() }.into());
    }
    let password = match given(p)? {
        Some((password, _)) => password,
        None => {
            let text = format!("Password for the new repository {}: ", name(store.location().as_bytes()));
            secret::ask_twice(p.io, &text)?
        }
    };
    let options = InitOptions { label: label.to_owned(), ..InitOptions::default() };
    let surroundings = p.io.surroundings.clone();
    let repo = Repository::init(store, &password, &options, &open_options(p), surroundings)?;
    for limitation in repo.store().limitations() {
        p.note(&limitation);
    }
    notices(p, &repo);
    Ok(repo)
}

/// What opening or reading noticed, each once.
pub fn notices(p: &Printer<'_>, repo: &Repository) {
    for notice in repo.take_notices() {
        p.warn(&notice);
    }
}

/// A password to be set: from its own options and variables, else asked for twice.
pub fn new_password(io: &mut Io, new: &crate::args::NewPassword) -> Result<Password, Failure> {
    let ways = Ways {
        file: new.new_password_file.as_deref(),
        command: new.new_password_command.as_deref(),
        variables: secret::NEW_VARIABLES,
    };
    match secret::given(ways, io)? {
        Some((password, _)) => Ok(password),
        None if !io.terminals.stdin => Err(Failure::usage(
            "no new password was given, and there is no terminal to ask for one",
            "set BALLAST_NEW_PASSWORD, or give --new-password-file or --new-password-command",
        )),
        None => secret::ask_twice(io, "New password: "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (given, path) in [
            ("/mnt/usb/vault", Some("/mnt/usb/vault")),
            ("vault", Some("vault")),
            ("./s3:bucket", Some("./s3:bucket")),
            ("/mnt/a:b", Some("/mnt/a:b")),
            ("local:/mnt/vault", Some("/mnt/vault")),
            ("file:///mnt/vault", Some("/mnt/vault")),
            ("s3:https://host/bucket", None),
            ("sftp:user@host:/srv", None),
            ("rest:http://host:8000/", None),
            ("https://host/x", None),
            ("host:/srv/vault", None),
            ("", None),
        ] {
            assert_eq!(local_path(OsStr::new(given)).ok(), path.map(Path::new), "{given}");
        }
    }
}
