//! The C types that aclnn entry points take, as far as their signatures need them.
//!
//! Source: headers `aclnn/acl_meta.h` and `aclnn/aclnn_base.h` of CANN. Handles are opaque here: who calls makes them
//! through the runtime library.

use std::ffi::c_void;

/// `const aclTensor *`, null where an optional tensor is absent.
pub type AclTensor = *const c_void;
/// `const aclTensorList *`.
pub type AclTensorList = *const c_void;
/// `const aclIntArray *`, in host memory.
pub type AclIntArray = *const c_void;
/// `const aclScalar *`.
pub type AclScalar = *const c_void;
/// `const char *`, ending in NUL.
pub type AclText = *const std::ffi::c_char;
/// `aclDataType`.
pub type AclDataType = i32;
/// `aclOpExecutor *`.
pub type AclOpExecutor = *mut c_void;
/// `aclrtStream`.
pub type AclStream = *mut c_void;
/// `aclnnStatus`, 0 for success.
pub type AclStatus = i32;

/// The name in the header of an argument that has a `_` at its end where Rust has a word of its own.
pub(super) const fn header_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [.., b'_'] => name.split_at(name.len() - 1).0,
        _ => name,
    }
}

/// The second phase of every operator: workspace, its size in bytes, what the first phase made, stream.
pub type Launch = unsafe extern "C" fn(*mut c_void, u64, AclOpExecutor, AclStream) -> AclStatus;

/// The C type of an argument of the first phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType {
    /// `aclTensor *`
    Tensor,
    /// `aclTensorList *`
    TensorList,
    /// `aclIntArray *`
    IntArray,
    /// `aclScalar *`
    Scalar,
    /// `bool`
    Bool,
    /// `int8_t`
    I8,
    /// `int32_t`
    I32,
    /// `int64_t`
    I64,
    /// `float`
    F32,
    /// `double`
    F64,
    /// `char *`
    Text,
    /// `aclDataType`
    DataType,
}

impl ArgType {
    /// Whether it is a whole number.
    pub const fn is_integer(self) -> bool {
        matches!(self, ArgType::I8 | ArgType::I32 | ArgType::I64)
    }

    /// As C headers write it, without `const`.
    pub const fn c_name(self) -> &'static str {
        match self {
            ArgType::Tensor => "aclTensor*",
            ArgType::TensorList => "aclTensorList*",
            ArgType::IntArray => "aclIntArray*",
            ArgType::Scalar => "aclScalar*",
            ArgType::Bool => "bool",
            ArgType::I8 => "int8_t",
            ArgType::I32 => "int32_t",
            ArgType::I64 => "int64_t",
            ArgType::F32 => "float",
            ArgType::F64 => "double",
            ArgType::Text => "char*",
            ArgType::DataType => "aclDataType",
        }
    }
}

/// The type by which an argument is passed, from the word for it in a declaration.
macro_rules! arg_c_type {
    (tensor) => {
        $crate::kernels::ascend::abi::AclTensor
    };
    (list) => {
        $crate::kernels::ascend::abi::AclTensorList
    };
    (ints) => {
        $crate::kernels::ascend::abi::AclIntArray
    };
    (scalar) => {
        $crate::kernels::ascend::abi::AclScalar
    };
    (bool) => {
        bool
    };
    (i8) => {
        i8
    };
    (i32) => {
        i32
    };
    (i64) => {
        i64
    };
    (f32) => {
        f32
    };
    (f64) => {
        f64
    };
    (text) => {
        $crate::kernels::ascend::abi::AclText
    };
    (dtype) => {
        $crate::kernels::ascend::abi::AclDataType
    };
}

/// The kind of an argument, from the word for it in a declaration.
macro_rules! arg_type {
    (tensor) => {
        $crate::kernels::ascend::abi::ArgType::Tensor
    };
    (list) => {
        $crate::kernels::ascend::abi::ArgType::TensorList
    };
    (ints) => {
        $crate::kernels::ascend::abi::ArgType::IntArray
    };
    (scalar) => {
        $crate::kernels::ascend::abi::ArgType::Scalar
    };
    (bool) => {
        $crate::kernels::ascend::abi::ArgType::Bool
    };
    (i8) => {
        $crate::kernels::ascend::abi::ArgType::I8
    };
    (i32) => {
        $crate::kernels::ascend::abi::ArgType::I32
    };
    (i64) => {
        $crate::kernels::ascend::abi::ArgType::I64
    };
    (f32) => {
        $crate::kernels::ascend::abi::ArgType::F32
    };
    (f64) => {
        $crate::kernels::ascend::abi::ArgType::F64
    };
    (text) => {
        $crate::kernels::ascend::abi::ArgType::Text
    };
    (dtype) => {
        $crate::kernels::ascend::abi::ArgType::DataType
    };
}

pub(super) use {arg_c_type, arg_type};
