//! `cat`: one object of the repository as JSON, or the names of a kind.

use ballast::error::Error;
use ballast::format::index::IndexObject;
use ballast::format::keyfile::Clear;
use ballast::format::lease::LeaseV1;
use ballast::format::wire;
use ballast::id::{BlobKind, ObjectKind, ObjectName};
use ballast::repo::Repository;
use ballast::repo::reader::Reader;
use ballast::repo::snapshots::Filter;
use serde_json::{Value, json as object};

use super::{key, records};
use crate::args::{CatArgs, CatKind};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::output::safe_json;
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(args: &CatArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let id = args.id.as_deref().map(str::to_ascii_lowercase);
    let kind = object_kind(args.kind);
    if kind.is_none() && id.is_none() {
        let hint = "`ballast cat snapshot latest` shows the id of a snapshot's root";
        return Err(Failure::usage("which one?", hint));
    }
    let repo = connect::open(p)?;
    let value = match (kind, id) {
        (Some(ObjectKind::Config), _) => records::config(repo.config())?,
        (Some(kind), Some(id)) => object(&repo, kind, &id, p)?,
        (Some(kind), None) => names(&repo, kind)?,
        (None, id) => blob(&repo, args.kind, &id.unwrap_or_default())?,
    };
    connect::notices(p, &repo);
    if p.global.json {
        p.json(&value);
    } else {
        let text =
            serde_json::to_string_pretty(&json::tidy(value)).map_err(|e| Failure::failed(e.to_string()))?;
        p.data(&safe_json(&text));
    }
    Ok(Exit::Done)
}

fn object_kind(kind: CatKind) -> Option<ObjectKind> {
    Some(match kind {
        CatKind::Config => ObjectKind::Config,
        CatKind::Key => ObjectKind::Key,
        CatKind::Snapshot => ObjectKind::Snapshot,
        CatKind::Index => ObjectKind::Index,
        CatKind::Ledger => ObjectKind::Ledger,
        CatKind::Lease => ObjectKind::Lease,
        CatKind::Tree | CatKind::List => return None,
    })
}

fn names(repo: &Repository, kind: ObjectKind) -> Result<Value, Failure> {
    let mut names = repo.store().list(kind)?;
    // Ledger entries by number, all others by their digits.
    names.sort_by_key(|name| (if kind == ObjectKind::Ledger { name.len() } else { 0 }, name.clone()));
    Ok(object!({ "kind": kind.word(), "names": names }))
}

/// The one object of `kind` that `id` means.
fn pick(repo: &Repository, kind: ObjectKind, id: &str, p: &Printer<'_>) -> Result<ObjectName, Failure> {
    if kind == ObjectKind::Snapshot && (id.starts_with("latest") || id.starts_with('@')) {
        let (word, _) = whom::snapshot_and_path(id.as_ref())?;
        return Ok(whom::find(p, repo, &word, &Filter::default())?.id.into());
    }
    let fits = |name: &String| match kind {
        // A number, or a number and a session.
        ObjectKind::Ledger => name.split('-').next() == Some(id) || name == id,
        _ => name.starts_with(id),
    };
    let mut found = repo.store().list(kind)?;
    found.retain(fits);
    found.sort();
    match found.as_slice() {
        [one] => Ok(ObjectName::new(kind, one)),
        [] => {
            let missing = Error::NotFound { what: format!("{} {id}", kind.word()) };
            Err(Failure::from(missing).with_hint("without an ID, `ballast cat` lists what there is"))
        }
        many => {
            let first: Vec<_> = many.iter().take(5).map(|n| &n[..n.len().min(12)]).collect();
            Err(Failure::failed(format!("{} {id} is ambiguous: {}", kind.word(), first.join(", ")))
                .with_hint("give more digits"))
        }
    }
}

fn object(repo: &Repository, kind: ObjectKind, id: &str, p: &Printer<'_>) -> Result<Value, Failure> {
    let name = pick(repo, kind, id, p)?;
    let damaged = |e: ballast::error::Malformed| Failure::from(e.of(&name));
    let plain = || repo.open_object(&name);
    Ok(match kind {
        ObjectKind::Snapshot => records::snapshot(&wire::decode(&plain()?).map_err(damaged)?)?,
        ObjectKind::Index => records::index(&IndexObject::decode(&plain()?).map_err(damaged)?)?,
        ObjectKind::Ledger => records::ledger(&wire::decode(&plain()?).map_err(damaged)?, &name)?,
        ObjectKind::Lease => records::value(&wire::decode::<LeaseV1>(&plain()?).map_err(damaged)?)?,
        ObjectKind::Key => {
            let id = name.name.parse().map_err(damaged)?;
            let clear = Clear::decode(&repo.key_file(id)?).map_err(damaged)?;
            records::key(&clear, key::info(repo, id)?)?
        }
        ObjectKind::Config | ObjectKind::Pack => {
            return Err(Failure::failed(format!("{name} is not shown")));
        }
    })
}

fn blob(repo: &Repository, kind: CatKind, id: &str) -> Result<Value, Failure> {
    let parsed = id.parse().map_err(|_| {
        Failure::usage(format!("\"{id}\" is no id of 64 digits"), "give the whole id, as `cat` shows it")
    })?;
    let reader = Reader::open(repo)?;
    let damaged = |e: ballast::error::Malformed| Failure::from(e.of(format!("blob {id}")));
    match kind {
        CatKind::Tree => {
            // A large directory's parts have the same layout.
            let whole = reader.blob(BlobKind::Tree, parsed);
            let bytes = match whole {
                Err(Error::Missing { .. }) => reader.blob(BlobKind::TreePart, parsed),
                whole => whole,
            };
            records::value(&wire::decode::<ballast::format::tree::TreeV1>(&bytes?).map_err(damaged)?)
        }
        _ => {
            let bytes = reader.blob(BlobKind::List, parsed)?;
            records::value(&wire::decode::<ballast::format::content::ListV1>(&bytes).map_err(damaged)?)
        }
    }
}
