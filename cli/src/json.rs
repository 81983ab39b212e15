//! What `--json` prints: one object a line. The rules that hold for every verb are kept here
//! (`docs/json.md`): where names are not text, how a moment is written, what a line is called.

use ballast::format::wire::Stamp;
use ballast::id::to_hex;
use serde_json::{Map, Value};

use crate::output::safe_json;
use crate::time;

/// One line, without its end: an object whose `message_type` is `word`.
pub fn line(word: &str, value: Value) -> String {
    let mut object = match tidy(value) {
        Value::Object(object) => object,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    object.insert("message_type".into(), word.into());
    safe_json(&Value::Object(object).to_string())
}

/// `value` as every verb shows it, at any depth:
///
/// * nanoseconds since 1970 in a field `…_ns`, and what the format calls a stamp, become RFC 3339 in
///   UTC, under the name without `_ns`; `null` beyond the calendar;
/// * bytes that are not UTF-8 get a field `…_hex` beside theirs.
pub fn tidy(value: Value) -> Value {
    match value {
        Value::Object(object) => tidy_object(object),
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        other => other,
    }
}

fn tidy_object(object: Map<String, Value>) -> Value {
    if let Some(stamp) = stamp(&object) {
        return time::exact(stamp).into();
    }
    let mut out = Map::new();
    for (key, value) in object {
        if let (Some(name), true) = (key.strip_suffix("_ns"), value.is_i64() || value.is_null()) {
            let moment = value.as_i64().and_then(|ns| time::exact(Stamp::from_ns(ns)));
            out.insert(name.to_owned(), moment.into());
            continue;
        }
        if let Some(hex) = hex_of(&value) {
            out.insert(format!("{key}_hex"), hex);
        }
        out.insert(key, tidy(as_text(value)));
    }
    out.into()
}

fn stamp(object: &Map<String, Value>) -> Option<Stamp> {
    let (secs, nanos) = (object.get("secs")?.as_i64()?, object.get("nanos")?.as_u64()?);
    (object.len() == 2).then_some(Stamp { secs, nanos: u32::try_from(nanos).ok()? })
}

/// The two halves of bytes that are not UTF-8, as the engine serialises them.
fn halves(value: &Value) -> Option<(&Value, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 2)?;
    Some((object.get("lossy")?, object.get("hex")?))
}

fn hex_of(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) if items.iter().any(|item| halves(item).is_some()) => {
            let hex = |item: &Value| match (halves(item), item) {
                (Some((_, hex)), _) => hex.clone(),
                (None, Value::String(text)) => to_hex(text.as_bytes()).into(),
                _ => Value::Null,
            };
            Some(items.iter().map(hex).collect())
        }
        value => halves(value).map(|(_, hex)| hex.clone()),
    }
}

fn as_text(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(as_text).collect(),
        value => halves(&value).map(|(text, _)| text.clone()).unwrap_or(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast::format::wire::Bytes;
    use serde_json::json;

    #[test]
    fn moments_are_written_one_way() {
        let value = json!({ "time_ns": 1_743_847_207_500_000_000i64, "at": { "secs": 0, "nanos": 0 },
            "deep": [{ "created_ns": null }], "never": { "secs": i64::MAX, "nanos": 0 }, "turns_ns": "x" });
        assert_eq!(
            tidy(value),
            json!({ "time": "2025-04-05T10:00:07.5Z", "at": "1970-01-01T00:00:00Z",
                "deep": [{ "created": null }], "never": null, "turns_ns": "x" })
        );
    }

    #[test]
    fn names_that_are_not_text_keep_their_bytes() {
        let odd = Bytes::from(&b"a\xff"[..]);
        let value = json!({ "path": odd, "fine": Bytes::from(&b"b"[..]), "paths": ["b", odd],
            "list": [{ "path": odd }] });
        assert_eq!(
            tidy(value),
            json!({ "path": "a\u{fffd}", "path_hex": "61ff", "fine": "b", "paths": ["b", "a\u{fffd}"],
                "paths_hex": ["62", "61ff"], "list": [{ "path": "a\u{fffd}", "path_hex": "61ff" }] })
        );
    }

    #[test]
    fn a_line_is_one_object() {
        assert_eq!(
            line("note", json!({ "message": "two\nlines" })),
            r#"{"message":"two\nlines","message_type":"note"}"#
        );
        assert_eq!(line("summary", json!(null)), r#"{"message_type":"summary","value":null}"#);
    }
}
