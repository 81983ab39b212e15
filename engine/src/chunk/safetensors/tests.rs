use super::*;
use crate::chunk::{CutParams, Opaque, Policy, check_regions, lay_out};

/// A file with this header and `data` bytes of tensors.
fn file(json: &str, data: usize) -> Vec<u8> {
    let length = u64::try_from(json.len()).unwrap().to_le_bytes();
    [&length[..], json.as_bytes(), &vec![7; data]].concat()
}

fn parse(json: &str, data: usize) -> Option<Header> {
    let bytes = file(json, data);
    let len = u64::try_from(bytes.len()).unwrap();
    let found = Header::parse(&bytes, len);
    let regions = lay_out(&Safetensors, &&bytes[..], len, &CutParams::default()).unwrap();
    match &found {
        Some(header) => {
            check_regions(&header.regions(), len, &CutParams::default()).unwrap();
            assert_eq!(regions, header.regions());
            // The header alone is enough, and less is not.
            let end = usize::try_from(header.len).unwrap();
            assert_eq!(Header::parse(&bytes[..end], len).as_ref(), Some(header));
            assert_eq!(Header::parse(&bytes[..end - 1], len), None);
            assert_eq!(Header::parse(&bytes, len + 1), None);
            assert_eq!(Header::parse(&bytes, len - 1), None);
        }
        None => assert_eq!(regions, Opaque::layout(len)),
    }
    found
}

fn good(json: &str, data: usize) -> Header {
    parse(json, data).unwrap_or_else(|| panic!("refused: {json}"))
}

fn bad(json: &str, data: usize) {
    assert_eq!(parse(json, data), None, "{json}");
}

#[test]
fn tensors_are_found_where_they_are() {
    let header = good(
        r#"{"b":{"dtype":"F32","shape":[],"data_offsets":[48,52]},"__metadata__":{"format":"pt"},
            "a":{"shape":[2,3,4],"dtype":"BF16","data_offsets":[0,48]},
            "none":{"dtype":"I64","shape":[3,0],"data_offsets":[48,48]}}   "#,
        52,
    );
    let at = header.len;
    let places: Vec<_> = header.tensors.iter().map(|t| (&*t.name, t.dtype, t.offset - at, t.len)).collect();
    assert_eq!(places, [("a", "BF16", 0, 48), ("none", "I64", 48, 0), ("b", "F32", 48, 4)]);
    assert_eq!(header.tensors[0].shape, [2, 3, 4]);
    let region = |start, len, grid| Region { start, len, grid, policy: Policy::Cdc };
    assert_eq!(header.regions(), [region(0, at, 1), region(at, 48, 8), region(at + 48, 4, 8)]);
}

#[test]
fn what_follows_the_rules_is_taken() {
    good(r#"{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    good(r#"{"\u0061\n":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}"#, 1);
    good(r#"{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}"#, 3);
    good(r#"{"a":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}"#, 0);
    good(r#"{"a":{"dtype":"F64","shape":[0,18446744073709551615],"data_offsets":[0,0]}}"#, 0);
    good(r#"{"__metadata__":{},"a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]}}"#, 1);
}

#[test]
fn anything_odd_is_opaque() {
    let one = |info: &str| format!(r#"{{"a":{info}}}"#);
    // Not safetensors at all.
    for bytes in [&b""[..], b"\x02\0\0\0\0\0\0", b"\x02\0\0\0\0\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff{}"]
    {
        assert_eq!(Header::parse(bytes, bytes.len() as u64), None);
    }
    bad("", 0);
    bad("{}", 0);
    bad(r#"{"__metadata__":{"a":"b"}}"#, 0);
    bad(r#" {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    bad(r#"[{"dtype":"U8","shape":[1],"data_offsets":[0,1]}]"#, 1);
    bad(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}"#, 1);
    bad(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}"#, 1);
    bad(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#, 1);
    // Fields.
    for info in [
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1],"dtype":"U8"}"#,
        r#"{"dtype":"U8","shape":[1]}"#,
        r#"["U8",[1],[0,1]]"#,
        r#"{"dtype":"U9","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"u8","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":8,"shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":1,"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[1]}"#,
        // Sizes.
        r#"{"dtype":"U8","shape":[2],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U16","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"F4","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[1,0]}"#,
        r#"{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}"#,
        r#"{"dtype":"U64","shape":[2305843009213693952],"data_offsets":[0,0]}"#,
    ] {
        bad(&one(info), 1);
        bad(&one(info), 0);
    }
    // Names.
    let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    bad(twice, 2);
    good(&twice.replace(r"\u0061", "b"), 2);
    // Metadata.
    for metadata in [r#"{"a":1}"#, r#"{"a":{}}"#, "null", "[]", r#""text""#] {
        bad(
            &format!(
                r#"{{"__metadata__":{metadata},"a":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#
            ),
            1,
        );
    }
    bad(r#"{"__metadata__":{},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{}}"#, 1);
    // Text that is no text.
    let mut bytes = file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    bytes[10] = 0xff;
    assert_eq!(Header::parse(&bytes, bytes.len() as u64), None);
}

#[test]
fn holes_and_overlaps_are_opaque() {
    let two = |a: [u64; 2], b: [u64; 2]| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":{a:?}}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":{b:?}}}}}"#,
            a[1] - a[0],
            b[1] - b[0]
        )
    };
    good(&two([0, 4], [4, 9]), 9);
    good(&two([4, 9], [0, 4]), 9);
    bad(&two([0, 4], [5, 9]), 9);
    bad(&two([0, 4], [3, 9]), 9);
    bad(&two([1, 4], [4, 9]), 9);
    bad(&two([0, 4], [4, 9]), 10);
    bad(&two([0, 4], [4, 9]), 8);
    bad(&two([0, 4], [0, 4]), 4);
}

#[test]
fn limits_hold() {
    let many = |count: usize| {
        let tensors: Vec<String> = (0..count)
            .map(|n| format!(r#""{n:x}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{}]}}"#, n + 1))
            .collect();
        format!("{{{}}}", tensors.join(","))
    };
    good(&many(MAX_TENSORS), MAX_TENSORS);
    bad(&many(MAX_TENSORS + 1), MAX_TENSORS + 1);
    let one = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let padded = |len: usize| format!("{one}{}", " ".repeat(len - LENGTH_BYTES - one.len()));
    good(&padded(MAX_HEADER_BYTES), 1);
    bad(&padded(MAX_HEADER_BYTES + 1), 1);
    let deep = |n: usize| {
        format!(r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}}}}"#, vec!["1"; n].join(","))
    };
    good(&deep(MAX_DIMENSIONS), 1);
    bad(&deep(MAX_DIMENSIONS + 1), 1);
    bad(&format!(r#"{{"a":{}"#, "[".repeat(100_000)), 1);
    bad(&"{\"a\":".repeat(100_000), 1);
}
