use std::collections::HashMap;

use super::*;

fn node(name: &str, kind: NodeKind, content: Vec<crate::format::content::Entry>) -> Node {
    Node { mode: 0o755, nlink: 1, content, ..Node::blank(name.as_bytes(), kind) }
}

#[derive(Default)]
struct Table(HashMap<BlobId, Vec<Node>>);

impl Table {
    fn add(&mut self, number: u8, nodes: Vec<Node>) -> BlobId {
        let id = BlobId([number; 32]);
        self.0.insert(id, nodes);
        id
    }
}

impl Trees for Table {
    fn nodes(&self, tree: BlobId) -> Result<Vec<Node>> {
        self.0.get(&tree).cloned().ok_or_else(|| Error::NotFound { what: "tree".into() })
    }
}

fn dir(name: &str, id: BlobId) -> Node {
    node(name, NodeKind::Directory, vec![crate::format::content::Entry::Tree { id }])
}

fn file(name: &str) -> Node {
    node(name, NodeKind::File, Vec::new())
}

/// `/a/{x.c, y.h}`, `/b/c/x.c`, `/gone` (its tree is lost), `/z`
fn table() -> (Table, BlobId) {
    let mut table = Table::default();
    let a = table.add(1, vec![file("x.c"), file("y.h")]);
    let c = table.add(2, vec![file("x.c")]);
    let b = table.add(3, vec![dir("c", c)]);
    let gone = BlobId([9; 32]);
    let top = table.add(4, vec![dir("a", a), dir("b", b), dir("gone", gone), file("z")]);
    (table, top)
}

fn steps(include: &[&str], exclude: &[&str], from: &str) -> String {
    let (table, top) = table();
    let owned = |p: &[&str]| p.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let selection = Selection::new(&owned(include), &owned(exclude)).unwrap();
    let tree = if from == "/" { top } else { BlobId([1; 32]) };
    let mut walk = Walk::contents(&table, &selection, tree, from.as_bytes()).unwrap();
    let mut out = Vec::new();
    while let Some(step) = walk.next_step() {
        let name = |n: &Node| String::from_utf8_lossy(&n.name).into_owned();
        out.push(match step {
            Step::Enter { node, wanted, .. } => {
                format!("{}{}", name(&node), if wanted { "{" } else { "(" })
            }
            Step::Leave => "}".to_owned(),
            Step::Leaf { node, .. } => name(&node),
            Step::Broken { .. } => "!".to_owned(),
            Step::Lost { .. } => "?".to_owned(),
        });
    }
    out.join(" ")
}

#[test]
fn everything_in_order_and_what_is_lost_is_said() {
    assert_eq!(steps(&[], &[], "/"), "a{ x.c y.h } b{ c{ x.c } } gone{ ! } z");
}

#[test]
fn directories_are_entered_only_on_the_way_to_something() {
    assert_eq!(steps(&["*.c"], &["gone"], "/"), "a( x.c } b( c( x.c } }");
    assert_eq!(steps(&["c"], &["gone"], "/"), "b( c{ x.c } }");
    assert_eq!(steps(&["/nothing"], &["gone"], "/"), "");
}

#[test]
fn what_is_excluded_is_never_entered() {
    assert_eq!(steps(&[], &["gone", "b"], "/"), "a{ x.c y.h } z");
    assert_eq!(steps(&["b"], &["b/c", "gone"], "/"), "b{ }");
}

#[test]
fn patterns_are_of_the_snapshot_wherever_one_begins() {
    assert_eq!(steps(&["/a"], &[], "/a"), "x.c y.h");
    assert_eq!(steps(&["/a/x.c"], &[], "/a"), "x.c");
    assert_eq!(steps(&[], &["/a/x.c"], "/a"), "y.h");
    assert_eq!(steps(&[], &["/a"], "/a"), "");
}

/// Files that lost a part come only when they are asked for, under a name that nothing else has.
#[test]
fn damaged_files_come_under_a_name_of_their_own() {
    let lost = |mut node: Node| {
        node.mark_lost(crate::format::record::LostV1::all(5));
        node
    };
    let mut table = Table::default();
    let nodes = vec![lost(file("x")), file("x.damaged"), lost(file("x.damaged.damaged"))];
    let top = table.add(1, nodes);
    let selection = Selection::new(&[], &[]).unwrap();
    let names = |salvage: bool| {
        let mut walk = Walk::contents(&table, &selection, top, b"/").unwrap().salvaging(salvage);
        let mut out = Vec::new();
        while let Some(step) = walk.next_step() {
            match step {
                Step::Leaf { node, .. } => out.push(String::from_utf8_lossy(&node.name).into_owned()),
                Step::Lost { path, .. } => out.push(format!("?{}", String::from_utf8_lossy(&path))),
                other => panic!("{other:?}"),
            }
        }
        out
    };
    assert_eq!(names(false), ["?/x", "x.damaged", "?/x.damaged.damaged"]);
    let other = ["?/x", "x.damaged.damaged.damaged", "x.damaged", "?/x.damaged.damaged"];
    assert_eq!(names(true)[..4], other);
    assert_eq!(names(true)[4], "x.damaged.damaged.damaged.damaged");
}
