//! Names for the calls of a [`Store`](super::Store), for scripting and recording.

use crate::id::{ObjectKind, ObjectName};

/// A method of [`Store`](super::Store) that touches objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `prepare`
    Prepare,
    /// `put`
    Put,
    /// `get`
    Get,
    /// `get_range`
    GetRange,
    /// `stat`
    Stat,
    /// `list`
    List,
    /// `remove`
    Remove,
}

impl Method {
    /// Does it change what is stored?
    pub fn is_mutating(self) -> bool {
        matches!(self, Self::Put | Self::Remove)
    }

    /// The verb in a [`StoreError`](crate::error::StoreError).
    pub fn verb(self) -> &'static str {
        match self {
            Self::Prepare => "create",
            Self::Put => "write",
            Self::Get | Self::GetRange | Self::Stat => "read",
            Self::List => "list",
            Self::Remove => "remove",
        }
    }
}

/// One call, as it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Kind of object; `None` for `prepare`.
    pub kind: Option<ObjectKind>,
    /// The object; `None` for `prepare` and `list`.
    pub name: Option<ObjectName>,
}

impl Call {
    /// A call about one object.
    pub fn on(method: Method, name: &ObjectName) -> Self {
        Self { method, kind: Some(name.kind), name: Some(name.clone()) }
    }

    /// `list`.
    pub fn list(kind: ObjectKind) -> Self {
        Self { method: Method::List, kind: Some(kind), name: None }
    }

    /// `prepare`.
    pub fn prepare() -> Self {
        Self { method: Method::Prepare, kind: None, name: None }
    }

    /// The object or kind, for messages.
    pub fn object(&self) -> String {
        match (&self.name, self.kind) {
            (Some(name), _) => name.to_string(),
            (None, Some(kind)) => kind.directory().to_owned(),
            (None, None) => "the repository".to_owned(),
        }
    }
}
