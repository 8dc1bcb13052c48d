use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;

/// The start of a file with this JSON, and the size of the file with so much data.
fn file(json: &str, data_bytes: u64) -> (Vec<u8>, u64) {
    let mut start = (json.len() as u64).to_le_bytes().to_vec();
    start.extend_from_slice(json.as_bytes());
    let len = start.len() as u64 + data_bytes;
    (start, len)
}

fn refusal(json: &str, data_bytes: u64) -> String {
    let (start, len) = file(json, data_bytes);
    Header::parse(&start, len).unwrap_err().to_string()
}

#[test]
fn reads_tensors_in_the_order_of_their_data() {
    let json = r#"{"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
        "__metadata__":{"format":"pt"},
        "e":{"dtype":"F8_E4M3","shape":[0,7],"data_offsets":[4,4]},
        "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#;
    let (start, len) = file(json, 16);
    let header = Header::parse(&start, len).unwrap();
    let names: Vec<_> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "e", "b"]);
    assert_eq!(header.metadata["format"], "pt");
    let b = &header.tensors[2];
    assert_eq!((b.dtype.clone(), b.shape.as_slice(), b.bytes), (DType::BF16, &[2, 3][..], 12));
    assert_eq!(b.offset, len - 12);
    // An empty checkpoint is a valid file.
    let (start, len) = file("{}", 0);
    assert!(Header::parse(&start, len).unwrap().tensors.is_empty());
}

#[test]
fn knows_types_that_nothing_computes_with() {
    let (start, len) = file(r#"{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}"#, 2);
    assert_eq!(Header::parse(&start, len).unwrap().tensors[0].dtype, DType::Other("F4".to_owned()));
}

#[test]
fn names_the_broken_rule_and_the_tensor() {
    let cases: [(&str, u64, &str); 18] = [
        ("", 0, "a header of 0 bytes"),
        (" {}", 0, "does not begin with `{`"),
        ("[]", 0, "does not begin with `{`"),
        ("{", 0, "EOF"),
        ("{}x", 0, "trailing"),
        ("{}", 1, "describes a file of 10 bytes, but it has 11"),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3, "describes a file of"),
        (r#"{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}"#, 4, "tensor `a`: unknown type `F7`"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "tensor `a`: invalid value"),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            "F32[2] takes 8 bytes, but its range is 0..4",
        ),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "its range is 4..0"),
        (r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, 2, "has no size in whole bytes"),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
            0,
            "has no size in whole bytes",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#,
            0,
            "no size in whole bytes",
        ),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2, "`a` does not start where"),
        (
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            3,
            "`b` does not start where",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            1,
            "`a` twice",
        ),
        (r#"{"__metadata__":{"a":1}}"#, 0, "expected a string"),
    ];
    for (json, data_bytes, expected) in cases {
        let message = refusal(json, data_bytes);
        assert!(message.contains(expected), "{json}: {message}");
    }
    let many_dims = "1,".repeat(99);
    let json = format!(r#"{{"a":{{"dtype":"U8","shape":[{many_dims}1],"data_offsets":[0,1]}}}}"#);
    assert!(refusal(&json, 1).contains("100 dims"));
    assert!(refusal(r#"{"__metadata__":{},"__metadata__":{}}"#, 0).contains("twice"));
}

#[test]
fn recognises_what_is_found_in_place_of_a_checkpoint() {
    let cases: [(&[u8], &str); 7] = [
        (b"", "empty"),
        (b"\x02\0\0\0\0\0\0", "the file of 7 B is too short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"PK\x03\x04\0\0\x08\x08\0\0", "pickled"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickled"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "limit"),
    ];
    for (bytes, expected) in cases {
        let message = Header::parse(bytes, bytes.len() as u64).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(refusal("{}", u64::MAX - 10).contains("describes a file of 10 bytes"));
    let cut = Header::parse(b"\x09\0\0\0\0\0\0\0{}", 10).unwrap_err().to_string();
    assert!(cut.contains("header of 9 bytes does not fit in the file of 10 bytes"), "{cut}");
}

#[test]
fn builder_refuses_what_could_not_be_read() {
    let mut builder = HeaderBuilder::new();
    builder.tensor("a", DType::F32, &[2]).unwrap();
    let refused = [
        builder.tensor("a", DType::F32, &[2]),
        builder.tensor("__metadata__", DType::F32, &[2]),
        builder.tensor("b", DType::Other("F4".to_owned()), &[2]),
        builder.tensor("b", DType::F32, &[1 << 62]),
        builder.tensor("b", DType::U8, &[u64::MAX]),
    ];
    assert!(refused.iter().all(Result::is_err));
    // A refused tensor leaves no trace.
    assert_eq!(builder.tensor("b", DType::BF16, &[3]).unwrap(), 6);
    let header = builder.finish().unwrap();
    assert_eq!(header.file_len, header.bytes.len() as u64 + 14);
}

fn dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(vec![
        DType::F64,
        DType::F32,
        DType::BF16,
        DType::F8E4M3,
        DType::I32,
        DType::U8,
        DType::Bool,
    ])
}

/// Tensors with names that JSON has to escape, and sizes from none to far beyond memory.
fn tensors() -> impl Strategy<Value = BTreeMap<String, (DType, Vec<u64>)>> {
    let shape = prop::collection::vec(prop_oneof![0u64..5, 1u64..(1 << 14)], 0..4);
    prop::collection::btree_map("[a-z.\"\\\\\u{1}-\u{2}é]{0,6}", (dtype(), shape), 0..12)
}

fn build(tensors: &BTreeMap<String, (DType, Vec<u64>)>) -> HeaderBytes {
    let mut builder = HeaderBuilder::new();
    builder.metadata("format", "pt").metadata("by", "test");
    for (name, (dtype, shape)) in tensors {
        builder.tensor(name, dtype.clone(), shape).unwrap();
    }
    builder.finish().unwrap()
}

proptest! {
    #[test]
    fn what_the_builder_makes_reads_back(tensors in tensors()) {
        let built = build(&tensors);
        prop_assert!(built.bytes.len().is_multiple_of(8));
        let header = Header::parse(&built.bytes, built.file_len).unwrap();
        prop_assert_eq!(header.metadata.len(), 2);
        prop_assert_eq!(header.tensors.len(), tensors.len());
        let offsets: BTreeMap<_, _> = tensors.keys().zip(&built.offsets).collect();
        for tensor in &header.tensors {
            let (dtype, shape) = &tensors[&tensor.name];
            prop_assert_eq!(&tensor.dtype, dtype);
            prop_assert_eq!(&tensor.shape, shape);
            prop_assert_eq!(tensor.offset, *offsets[&tensor.name]);
        }
        // The reference implementation reads it too, where it is small enough to hold.
        if built.file_len < 1 << 20 {
            let mut whole = built.bytes.clone();
            whole.resize(built.file_len as usize, 0);
            prop_assert_eq!(SafeTensors::deserialize(&whole).unwrap().len(), tensors.len());
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        tensors in tensors(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
        file_len in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
    ) {
        let HeaderBytes { mut bytes, file_len: right, .. } = build(&tensors);
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = Header::parse(&bytes, file_len.unwrap_or(right));
        bytes.truncate(keep.index(bytes.len()));
        let _ = Header::parse(&bytes, file_len.unwrap_or(right));
        let _ = Header::parse(&bytes, bytes.len() as u64);
    }

    #[test]
    fn whatever_is_accepted_keeps_the_rules(
        bytes in "\\{(\"[ab]\":\\{\"dtype\":\"(U8|F16)\",\"shape\":\\[[0-3]\\],\"data_offsets\":\\[[0-4],[0-6]\\]\\},?){0,3}\\}",
        data_bytes in 0u64..8,
    ) {
        let (start, len) = file(&bytes, data_bytes);
        if let Ok(header) = Header::parse(&start, len) {
            let mut end = start.len() as u64;
            for tensor in header.tensors {
                prop_assert_eq!(tensor.offset, end);
                end += tensor.bytes;
            }
            prop_assert_eq!(end, len);
        }
    }
}
