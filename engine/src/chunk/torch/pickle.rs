//! What a pickle of `torch.save` says of tensors. Nothing in it is executed: opcodes are followed on a stack
//! of our own, and of what they would call only the few names are known that make tensors. The
//! result of any other call is a thing without a meaning, into which members may still be put.
//!
//! ```text
//! ('storage', torch.FloatStorage, '7', 'cpu', 4096)  persistent id → a storage
//! torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)  → a tensor in it
//! {'model': {'layer.weight': tensor}}  → its name: model.layer.weight
//! ```
//! Text opcodes of the first protocols, sets, memo numbers out of order and anything else that
//! PyTorch does not write end it: then there are no names.
//!
//! Time is linear in the pickle. Memory: [`MAX_VALUES`] values of 16 bytes at a time, twice that while a
//! vector grows; the names, [`MAX_NAMES_BYTES`].

mod machine;
mod names;

use crate::chunk::safetensors::Dtype;
pub use names::{Found, find};

/// Values on the stack, in the memo, in tuples and in containers together.
const MAX_VALUES: usize = 3 << 19;
/// All names together.
const MAX_NAMES_BYTES: usize = 8 << 20;
/// Name of a storage: a number, as PyTorch writes it.
const MAX_KEY_BYTES: usize = 255;
/// Containers in each other, as names go.
const MAX_DEPTH: usize = 32;

/// A storage, as its persistent id names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage<'p> {
    /// Its entry is called so, in the folder `data`.
    pub key: &'p str,
    /// Type and number of its elements; no type: so many bytes.
    pub kind: Kind,
    /// See there.
    pub count: u64,
}

/// Type of the elements of a storage or tensor.
pub type Kind = Option<Dtype>;

/// A tensor, and what leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor<'p> {
    /// Keys on the way to it, with points between them.
    pub name: String,
    /// Where it lies.
    pub storage: Storage<'p>,
    /// Type of its elements.
    pub dtype: Dtype,
    /// First element, counted from the storage's begin.
    pub offset: u64,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
}

/// What the words of a global mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    /// Makes a tensor of storage, offset, size, stride.
    Tensor,
    /// The same, with the type as its last argument.
    TypedTensor,
    /// Gives back its first argument.
    First,
    /// Calls its first argument with its third.
    Call,
    /// A type of storages.
    Storage(Kind),
    /// A type of elements.
    Dtype(Dtype),
    /// Anything else.
    Other,
}

impl Global {
    fn of(module: &[u8], name: &[u8]) -> Self {
        match (module, name) {
            (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2") => Self::Tensor,
            (b"torch._utils", b"_rebuild_tensor_v3") => Self::TypedTensor,
            (b"torch._utils", b"_rebuild_parameter" | b"_rebuild_parameter_with_state") => Self::First,
            (b"torch._tensor", b"_rebuild_from_type" | b"_rebuild_from_type_v2") => Self::Call,
            (b"torch" | b"torch.storage", name) => Self::of_torch(name),
            _ => Self::Other,
        }
    }

    fn of_torch(name: &[u8]) -> Self {
        let storage = |word| Dtype::from_word(word).map_or(Self::Other, |kind| Self::Storage(Some(kind)));
        let dtype = |word| Dtype::from_word(word).map_or(Self::Other, Self::Dtype);
        match name {
            b"UntypedStorage" => Self::Storage(None),
            b"DoubleStorage" => storage("F64"),
            b"FloatStorage" => storage("F32"),
            b"HalfStorage" => storage("F16"),
            b"BFloat16Storage" => storage("BF16"),
            b"LongStorage" => storage("I64"),
            b"IntStorage" => storage("I32"),
            b"ShortStorage" => storage("I16"),
            b"CharStorage" => storage("I8"),
            b"ByteStorage" => storage("U8"),
            b"BoolStorage" => storage("BOOL"),
            b"ComplexDoubleStorage" => storage("C128"),
            b"ComplexFloatStorage" => storage("C64"),
            b"uint16" => dtype("U16"),
            b"uint32" => dtype("U32"),
            b"uint64" => dtype("U64"),
            b"float8_e4m3fn" => dtype("F8_E4M3"),
            b"float8_e5m2" => dtype("F8_E5M2"),
            b"float8_e4m3fnuz" => dtype("F8_E4M3FNUZ"),
            b"float8_e5m2fnuz" => dtype("F8_E5M2FNUZ"),
            b"float8_e8m0fnu" => dtype("F8_E8M0"),
            _ => Self::Other,
        }
    }
}
