//! The store that a repository at scale is made in: that of a directory, but nothing is flushed. A hundred
//! thousand objects are then made in seconds; what is measured later is read by the real store.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use ballast::error::{StoreError, StoreErrorKind};
use ballast::id::{ObjectKind, ObjectName, PackId};
use ballast::store::local::LocalStore;
use ballast::store::{ObjectStat, PutMode, Store, StoreResult};

/// See the module's words.
pub struct Unflushed {
    real: LocalStore,
    root: PathBuf,
}

impl Unflushed {
    /// At `root`.
    pub fn new(root: PathBuf) -> StoreResult<Self> {
        Ok(Self { real: LocalStore::new(&root)?, root })
    }

    fn path_of(&self, name: &ObjectName) -> PathBuf {
        match name.kind {
            ObjectKind::Config => self.root.join("config"),
            ObjectKind::Pack => self.root.join("data").join(&name.name[..2]).join(&name.name),
            kind => self.root.join(kind.directory()).join(&name.name),
        }
    }

    /// A pack of that name and length without a byte in it: a file that is all hole.
    pub fn put_hollow(&self, id: PackId, size_bytes: u64) -> StoreResult<()> {
        let name = ObjectName::from(id);
        let failed = |e: std::io::Error| StoreError::from_io("write", &name, &e);
        let path = self.path_of(&name);
        let file = File::create_new(&path).or_else(|error| {
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
            if error.kind() == ErrorKind::NotFound { File::create_new(&path) } else { Err(error) }
        });
        file.and_then(|file| file.set_len(size_bytes)).map_err(failed)
    }
}

impl Store for Unflushed {
    fn location(&self) -> String {
        self.real.location()
    }

    fn prepare(&self) -> StoreResult<()> {
        self.real.prepare()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        let failed = |e: std::io::Error| StoreError::from_io("write", name, &e);
        let path = self.path_of(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        let file = match mode {
            PutMode::Replace => File::create(&path),
            PutMode::New => File::create_new(&path),
        };
        match file {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                Err(StoreError::new(StoreErrorKind::AlreadyExists, "write", name, "it is there already"))
            }
            file => file.and_then(|mut file| file.write_all(bytes)).map_err(failed),
        }
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.real.get(name, limit_bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        self.real.get_range(name, offset, len)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.real.stat(name)
    }

    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.real.list(kind)
    }

    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.real.remove(name)
    }

    fn local_path(&self) -> Option<PathBuf> {
        self.real.local_path()
    }
}
