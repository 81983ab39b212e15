//! The tables of docs/json.md as something that objects can be held to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

struct Field {
    kind: String,
    always: bool,
}

/// The tables, and which fields were met.
pub struct Contract {
    tables: BTreeMap<String, BTreeMap<String, Field>>,
    seen: BTreeSet<(String, String)>,
}

impl Contract {
    /// Reads the page: below a heading of one name in backticks, rows of field, type, there, meaning.
    pub fn read(page: &str) -> Self {
        let mut tables: BTreeMap<String, BTreeMap<String, Field>> = BTreeMap::new();
        let mut table = None;
        for line in page.lines() {
            if line.starts_with('#') {
                let name = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`'));
                table = name.map(str::to_owned);
                if let Some(name) = name {
                    assert!(tables.insert(name.to_owned(), BTreeMap::new()).is_none(), "{name} stands twice");
                }
            } else if let (Some(table), Some(row)) = (&table, line.strip_prefix("| `")) {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                let [name, kind, there, _meaning, ""] = cells[..] else {
                    panic!("no row of a table: {line}")
                };
                let name = name.strip_suffix('`').expect(line).to_owned();
                let field = Field { kind: kind.to_owned(), always: there == "always" };
                assert!(!there.is_empty(), "{line}");
                assert!(tables.get_mut(table).unwrap().insert(name, field).is_none(), "twice: {line}");
            }
        }
        let contract = Self { tables, seen: BTreeSet::new() };
        contract.assert_types_are_known();
        contract
    }

    fn assert_types_are_known(&self) {
        const SIMPLE: [&str; 9] =
            ["id", "time", "text", "name", "integer", "bytes", "number", "boolean", "record"];
        for (table, fields) in &self.tables {
            assert!(!fields.is_empty(), "`{table}` has no rows");
            for (name, field) in fields {
                let kind = field.kind.strip_suffix(" or null").unwrap_or(&field.kind);
                let kind = kind.strip_suffix(" list").or(kind.strip_prefix("map of ")).unwrap_or(kind);
                assert!(SIMPLE.contains(&kind) || self.has(kind), "{table}.{name}: what is a {kind}?");
            }
        }
    }

    /// Is there a table of this name?
    pub fn has(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Holds a line to a table.
    pub fn hold(&mut self, table: &str, line: &Value) {
        let mut object = line.as_object().unwrap_or_else(|| panic!("{table}: no object: {line}")).clone();
        assert!(object.remove("message_type").is_some(), "{table}: {line}");
        self.object(table, &object);
    }

    fn object(&mut self, table: &str, object: &Map<String, Value>) {
        let fields = self.tables.get(table).unwrap_or_else(|| panic!("docs/json.md has no table `{table}`"));
        let mut todo = Vec::new();
        for (name, value) in object {
            let of_name = name.strip_suffix("_hex").and_then(|of| fields.get(of));
            if let Some(field) = fields.get(name) {
                self.seen.insert((table.to_owned(), name.clone()));
                todo.push((format!("{table}.{name}"), field.kind.clone(), value));
            } else if let Some(field) = of_name.filter(|field| field.kind.starts_with("name")) {
                let kind = if field.kind.starts_with("name list") { "text list" } else { "text" };
                todo.push((format!("{table}.{name}"), kind.to_owned(), value));
            } else {
                panic!("{table}.{name} is printed and stands nowhere in docs/json.md: {value}");
            }
        }
        let lacks = fields.iter().find(|(name, field)| field.always && !object.contains_key(*name));
        if let Some((name, _)) = lacks {
            panic!("{table}.{name} is always there, says docs/json.md, and is not: {object:?}");
        }
        for (place, kind, value) in todo {
            self.value(&place, &kind, value);
        }
    }

    fn value(&mut self, place: &str, kind: &str, value: &Value) {
        if let Some(kind) = kind.strip_suffix(" or null") {
            if !value.is_null() {
                self.value(place, kind, value);
            }
            return;
        }
        if let Some(kind) = kind.strip_suffix(" list") {
            let items = value.as_array().unwrap_or_else(|| panic!("{place} is no list: {value}"));
            return items.iter().for_each(|item| self.value(place, kind, item));
        }
        if let Some(kind) = kind.strip_prefix("map of ") {
            let map = value.as_object().unwrap_or_else(|| panic!("{place} is no map: {value}"));
            return map.values().for_each(|item| self.value(place, kind, item));
        }
        let fits = match kind {
            "id" => value.as_str().is_some_and(is_id),
            "time" => {
                value.as_str().is_some_and(|t| t.ends_with('Z') && t.parse::<jiff::Timestamp>().is_ok())
            }
            "text" | "name" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "bytes" => value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "record" => true,
            table => {
                let object = value.as_object().unwrap_or_else(|| panic!("{place} is no {table}: {value}"));
                self.object(table, object);
                true
            }
        };
        assert!(fits, "{place} is no {kind}: {value}");
    }

    /// Every field that is always there was met, but those of `elsewhere`.
    pub fn assert_all_seen(&self, elsewhere: &[&str]) {
        let mut missing = Vec::new();
        for (table, fields) in self.tables.iter().filter(|(table, _)| !elsewhere.contains(&table.as_str())) {
            let unseen = |name: &&String| !self.seen.contains(&(table.clone(), (*name).clone()));
            let always = fields.iter().filter(|(_, field)| field.always).map(|(name, _)| name);
            missing.extend(always.filter(unseen).map(|name| format!("{table}.{name}")));
        }
        assert!(missing.is_empty(), "documented, and printed by nothing here: {missing:#?}");
    }
}

fn is_id(text: &str) -> bool {
    [32, 64].contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
