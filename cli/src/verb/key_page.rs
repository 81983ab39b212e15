//! `key export` and `key import`: a key as one page of text.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ballast::error::Error;
use ballast::format::wire::Bytes;
use ballast::id::ObjectKind;
use ballast::repo::{Repository, keys, keytext};
use ballast::store::Store;
use serde_json::json;

use super::key::info;
use crate::args::{ExportArgs, ImportArgs};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::hint;
use crate::output::{name, safe};
use crate::printer::Printer;
use crate::whom;

/// Far longer than any page.
const MAX_PAGE_BYTES: u64 = 1 << 20;

/// `key export`.
pub fn export(args: &ExportArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let id = match &args.id {
        Some(prefix) => repo.find_key(&prefix.to_ascii_lowercase())?,
        None => repo.key_id(),
    };
    let label = info(&repo, id)?.and_then(|key| key.label).unwrap_or_default();
    let place = name(repo.store().location().as_bytes());
    let page = keytext::export(&repo.key_file(id)?, &place, &safe(&label));
    if let Some(path) = &args.output {
        let path = whom::absolute(p.io, path)?;
        write_new(&path, &page)?;
        p.say(&format!("key {} written to {}", id.short(), name(path.as_os_str().as_encoded_bytes())));
        p.say("Keep it with its password, away from the repository.");
        if p.global.json {
            p.json(&json!({ "key": id, "output": Bytes::from(path.as_os_str().as_encoded_bytes()) }));
        }
    } else if p.global.json {
        p.json(&json!({ "key": id, "page": page }));
    } else {
        page.lines().for_each(|line| p.data(line));
    }
    Ok(Exit::Done)
}

fn write_new(path: &Path, page: &str) -> Result<(), Failure> {
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = open.and_then(|mut file| {
        file.write_all(page.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let failure = Failure::from(Error::io(path, error));
        if exists { failure.with_hint("remove it first, or choose another name") } else { failure }
    })
}

/// `key import`: also where every key file is lost, so without a password.
pub fn import(args: &ImportArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let store = connect::store(p)?;
    if !holds_anything(store.as_ref())? {
        return Err(Error::NoRepository { location: store.location() }.into());
    }
    let (page, from) = read_page(args, p)?;
    let file = keytext::import(&page)
        .map_err(|e| Failure::failed(format!("{from}: {}", e.0)).with_hint(hint::MISREAD))?;
    let id = keys::import(store.as_ref(), &file)?;
    p.say(&format!("key {} is back; it opens with its own password", id.short()));
    if p.global.json {
        p.json(&json!({ "imported": id }));
    }
    Ok(Exit::Done)
}

/// A repository that lost its config as well still has its packs and its ledger.
fn holds_anything(store: &dyn Store) -> Result<bool, Failure> {
    if Repository::exists(store)? {
        return Ok(true);
    }
    for kind in [ObjectKind::Ledger, ObjectKind::Snapshot, ObjectKind::Pack] {
        match store.list(kind) {
            Ok(names) if !names.is_empty() => return Ok(true),
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(false)
}

fn read_page(args: &ImportArgs, p: &mut Printer<'_>) -> Result<(String, String), Failure> {
    let mut bytes = Vec::new();
    let (from, read) = if args.page.as_os_str() == "-" {
        ("standard input".to_owned(), p.io.stdin.as_mut().take(MAX_PAGE_BYTES).read_to_end(&mut bytes))
    } else {
        let path = whom::absolute(p.io, &args.page)?;
        let read = File::open(&path).and_then(|file| file.take(MAX_PAGE_BYTES).read_to_end(&mut bytes));
        (name(path.as_os_str().as_encoded_bytes()), read)
    };
    read.map_err(|error| {
        let cure = hint::of_system(&error).unwrap_or(hint::NO_PAGE);
        Failure::failed(format!("{from}: {error}")).with_hint(cure)
    })?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), from))
}
