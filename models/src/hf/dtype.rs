//! Element types by the names that configs and checkpoints use.

use mscc_ir::DType;

/// The element type that a config or a user names: PyTorch's name, with or without `torch.`, or ours.
/// `auto` is `None`: take the type from elsewhere.
///
/// Errors: [`UnknownTorchDType`].
pub fn dtype_from_name(name: &str) -> Result<Option<DType>, UnknownTorchDType> {
    let bare = name.strip_prefix("torch.").unwrap_or(name);
    Ok(Some(match bare {
        "auto" => return Ok(None),
        "float64" | "double" => DType::F64,
        "float32" | "float" => DType::F32,
        "float16" | "half" => DType::F16,
        "bfloat16" => DType::BF16,
        "float8_e4m3fn" => DType::F8E4M3,
        "int64" => DType::I64,
        "int32" => DType::I32,
        "int8" => DType::I8,
        "uint8" => DType::U8,
        other => other.parse().map_err(|_| UnknownTorchDType(name.to_owned()))?,
    }))
}

/// A name that is no element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype `{0}`: expected bfloat16, float16, float32 or auto")]
pub struct UnknownTorchDType(pub String);

/// The element type of a stored tensor, if the compiler has one for it.
pub fn dtype_from_checkpoint(dtype: &mscc_checkpoint::DType) -> Option<DType> {
    use mscc_checkpoint::DType as Stored;
    match dtype {
        Stored::F64 => Some(DType::F64),
        Stored::F32 => Some(DType::F32),
        Stored::F16 => Some(DType::F16),
        Stored::BF16 => Some(DType::BF16),
        Stored::F8E4M3 => Some(DType::F8E4M3),
        Stored::I64 => Some(DType::I64),
        Stored::I32 => Some(DType::I32),
        Stored::I8 => Some(DType::I8),
        Stored::U8 => Some(DType::U8),
        Stored::Bool => Some(DType::Bool),
        // The rest of a list that grows with the format.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_of_pytorch_and_ours() {
        assert_eq!(dtype_from_name("bfloat16"), Ok(Some(DType::BF16)));
        assert_eq!(dtype_from_name("torch.float16"), Ok(Some(DType::F16)));
        assert_eq!(dtype_from_name("float32"), Ok(Some(DType::F32)));
        assert_eq!(dtype_from_name("f32"), Ok(Some(DType::F32)));
        assert_eq!(dtype_from_name("auto"), Ok(None));
        assert_eq!(dtype_from_name("float12"), Err(UnknownTorchDType("float12".to_owned())));
    }
}
