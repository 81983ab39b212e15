//! The tensors of a model in a snapshot as bytes: a [`Model`] and its files, each opened when something of it is wanted.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result, printable};
use crate::id::BlobId;
use crate::repo::file::{ContentAt, SnapshotFile};
use crate::repo::model::{Model, Tensor};
use crate::repo::reader::Reader;

/// See the module's words.
pub struct Weights {
    reader: Arc<Reader>,
    model: Model,
    files: Vec<OnceLock<Arc<ContentAt<Arc<Reader>>>>>,
}

impl Weights {
    /// The model at `path` below the tree `root`: see [`Model::find`].
    pub fn find(reader: &Arc<Reader>, root: BlobId, path: &[u8]) -> Result<Self> {
        Ok(Self::of(reader, Model::find(reader, root, path)?))
    }

    /// Of a model that was found.
    pub fn of(reader: &Arc<Reader>, model: Model) -> Self {
        let files = model.shards.iter().map(|_| OnceLock::new()).collect();
        Self { reader: reader.clone(), model, files }
    }

    /// Its tensors and files.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What reads it.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// One of its files, by the number of the shard.
    pub fn file(&self, shard: usize) -> Result<&Arc<ContentAt<Arc<Reader>>>> {
        let no_such = || Error::Internal(format!("a model without a shard {shard}"));
        let (of, file) = (self.model.shards.get(shard), self.files.get(shard));
        let (of, file) = (of.ok_or_else(no_such)?, file.ok_or_else(no_such)?);
        if let Some(open) = file.get() {
            return Ok(open);
        }
        let opened = Arc::new(ContentAt::open(self.reader.clone(), &of.path, &of.node)?);
        Ok(file.get_or_init(|| opened))
    }

    /// A tensor as a file of its own.
    pub fn tensor(&self, tensor: &Tensor) -> Result<SnapshotFile> {
        SnapshotFile::of(self.file(tensor.shard)?.clone()).part(tensor.offset, tensor.len)
    }

    /// All bytes of the tensor of that name, little-endian and row by row as its file has them. It must fit into memory.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of reading.
    pub fn bytes(&self, name: &[u8]) -> Result<Vec<u8>> {
        let of = || format!("tensor {} in {}", printable(name), printable(&self.model.path));
        let tensor = self.model.tensor(name).ok_or_else(|| Error::NotFound { what: of() })?;
        self.file(tensor.shard)?.bytes(tensor.offset, tensor.len)
    }
}
