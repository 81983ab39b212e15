//! What is read of the pickle in an archive: the names of its tensors, by whatever road they are reached; of
//! what cannot be followed, the storages.

use std::time::{Duration, Instant};

use ballast::chunk::CutParams;
use ballast::chunk::layout::{self, Tensor};
use support::bytes;
use support::formats::{Pickle, View, archive};

/// The tensors of an archive with this pickle and four storages of 4800 bytes.
fn find(pickle: &[u8]) -> Vec<Tensor> {
    let data: Vec<Vec<u8>> = (0..4).map(|n| bytes(n, 4800)).collect();
    let entries: Vec<(String, &[u8])> =
        data.iter().enumerate().map(|(n, data)| (format!("data/{n}"), &data[..])).collect();
    let content = archive("model", pickle, &entries);
    let size = content.len() as u64;
    let found = layout::find(&content, &&content[..], size, &CutParams::default()).unwrap();
    assert!(support::fuzz::torch(&content));
    // The tensors are where their bytes are: told by the storage that their numbers begin.
    for tensor in &found.tensors {
        let at = usize::try_from(tensor.offset).unwrap();
        let begins = |data: &Vec<u8>| data.windows(4).any(|w| content[at..].starts_with(w));
        assert!(tensor.len == 0 || data.iter().any(begins), "{tensor:?}");
    }
    found.tensors
}

/// Names, types and shapes, in order.
fn shown(pickle: &[u8]) -> Vec<String> {
    find(pickle).into_iter().map(|t| format!("{} {}{:?}", t.name, t.dtype, t.shape)).collect()
}

fn view(name: &str, key: &str, shape: &[u64]) -> View {
    View {
        name: name.into(),
        dtype: "F32",
        shape: shape.to_vec(),
        key: key.into(),
        elements: 1200,
        offset: 0,
        stride: None,
    }
}

/// What is there when nothing of a pickle is understood.
const UNNAMED: [&str; 4] = ["data/0 [4800]", "data/1 [4800]", "data/2 [4800]", "data/3 [4800]"];

#[test]
fn tensors_bear_the_names_that_lead_to_them() {
    let mut pickle = Pickle::new();
    // {'model': {'a': …, 'b': [tensor, {'c': …}]}, 'epoch': 7, 'lr': 0.1, 5: tensor}, and a state of the ordered one.
    pickle.op(b"}").put().op(b"(").text("model").ordered().op(b"(");
    pickle.text("a").tensor(&view("", "0", &[30, 40])).text("b").op(b"]").put().op(b"(");
    pickle.tensor(&view("", "1", &[1200])).op(b"}").text("c").tensor(&view("", "2", &[2, 600])).op(b"se");
    pickle.op(b"u}").text("_metadata").op(b"}sb").text("epoch").number(7);
    pickle.text("lr").op(b"G\x3f\xb9\x99\x99\x99\x99\x99\x9a").number(5).tensor(&view("", "3", &[1200]));
    pickle.text("none").op(b"N").text("large").number(u64::MAX).op(b"u");
    let expected = ["model.a F32[30, 40]", "model.b.0 F32[1200]", "model.b.1.c F32[2, 600]", "5 F32[1200]"];
    assert_eq!(shown(&pickle.finish()), expected);
}

#[test]
fn objects_and_parameters_are_seen_through() {
    let mut pickle = Pickle::new();
    // An object with a state, as TorchScript has them; a parameter; a subclass.
    pickle.op(b"c__torch__\nNet\n)\x81}(").text("weight");
    pickle.op(b"ctorch._utils\n_rebuild_parameter\n(").tensor(&view("", "0", &[1200])).op(b"\x88)tR");
    pickle.text("sub").op(b"c__torch__\nSub\n)\x81}").text("bias");
    pickle.op(b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmy\nTensor\n(");
    pickle.op(b"(").text("storage").op(b"ctorch\nHalfStorage\n").text("1").text("cpu").number(2400);
    pickle.op(b"tQ").number(0).numbers(&[2400]).numbers(&[1]).op(b"\x89)t}tRsb");
    // Float8 by its own type, in a storage of bytes.
    pickle.text("small").op(b"ctorch._utils\n_rebuild_tensor_v3\n((").text("storage");
    pickle.op(b"ctorch.storage\nUntypedStorage\n").text("2").text("cpu").number(4800).op(b"tQ");
    pickle.number(0).numbers(&[4, 1200]).numbers(&[1200, 1]).op(b"\x89)ctorch\nfloat8_e4m3fn\ntR");
    pickle.op(b"ub");
    let names = ["weight F32[1200]", "sub.bias F16[2400]", "small F8_E4M3[4, 1200]", "data/3 [4800]"];
    assert_eq!(shown(&pickle.finish()), names);
}

#[test]
fn protocol_4_says_the_same() {
    let mut pickle = Pickle::new();
    pickle.bytes[1] = 4;
    let short = |text: &str| [&[0x8c, text.len() as u8][..], text.as_bytes(), b"\x94"].concat();
    let global = |module: &str, name: &str| [short(module), short(name), b"\x93\x94".to_vec()].concat();
    pickle.op(&[0x95, 9, 0, 0, 0, 0, 0, 0, 0]).op(b"}\x94").op(&short("w"));
    pickle.op(&global("torch._utils", "_rebuild_tensor_v2")).op(b"((").op(&short("storage"));
    pickle.op(&global("torch", "FloatStorage")).op(&short("0")).op(&short("cpu")).op(b"M\xb0\x04t\x94Q");
    pickle.op(b"K\0M\xb0\x04\x85\x94K\x01\x85\x94\x89N\x94t\x94R\x94s");
    assert_eq!(shown(&pickle.finish())[..2], ["w F32[1200]", "data/1 [4800]"]);
}

#[test]
fn parts_of_a_storage() {
    let part = |name: &str, key: &str, offset, shape: &[u64]| View { offset, ..view(name, key, shape) };
    let turned = View { stride: Some(vec![1, 30]), ..view("turned", "2", &[30, 40]) };
    let views = [
        // Tied: the same bytes under two names.
        view("z", "0", &[30, 40]),
        view("y", "0", &[1200]),
        // Side by side, filling it.
        part("left", "1", 0, &[200]),
        part("right", "1", 200, &[10, 100]),
        // In another order than memory's; and a part of it.
        turned,
        part("first", "2", 0, &[600]),
        // Over each other.
        part("low", "3", 0, &[800]),
        part("high", "3", 400, &[800]),
        part("none", "3", 400, &[0, 5]),
        part("beyond", "3", 400, &[801]),
        part("one", "3", 1199, &[]),
    ];
    let pickle = Pickle::new().tensors(&views).finish();
    let names = [
        "y F32[1200]",
        "z F32[30, 40]",
        "left F32[200]",
        "right F32[10, 100]",
        "data/2 F32[1200]",
        "first F32[600]",
        "data/3 F32[1200]",
        "low F32[800]",
        "none F32[0, 5]",
        "high F32[800]",
        "one F32[]",
    ];
    assert_eq!(shown(&pickle), names);
    let found = find(&pickle);
    let places = found.iter().map(|t| (t.offset, t.len, t.dtype.as_bytes()));
    let size = found.last().unwrap().offset + 4;
    let regions = layout::regions(layout::Format::Torch, places, size);
    let lens: Vec<u64> = regions.iter().filter(|r| r.grid == 8).map(|r| r.len).collect();
    assert_eq!(lens, [4800, 800, 4000, 4800, 4800]);
}

/// A pickle that says something else than the directory names what it has wrong by its storage.
#[test]
fn what_does_not_fit_is_unnamed() {
    let views = [
        View { elements: 1201, ..view("more", "0", &[1200]) },
        View { dtype: "F64", ..view("wider", "1", &[1200]) },
        view("elsewhere", "9", &[1200]),
        View { offset: u64::MAX, ..view("far", "2", &[1]) },
        View { stride: Some(vec![u64::MAX, 1]), ..view("wide", "3", &[2, 600]) },
    ];
    let pickle = Pickle::new().tensors(&views).finish();
    let names = ["data/0 [4800]", "data/1 [4800]", "data/2 F32[1200]", "data/3 F32[1200]"];
    assert_eq!(shown(&pickle), names);
    // One name twice: the first counts.
    let twice = [view("a", "0", &[1200]), view("a", "1", &[1200])];
    let names = ["a F32[1200]", "data/1 F32[1200]", "data/2 [4800]", "data/3 [4800]"];
    assert_eq!(shown(&Pickle::new().tensors(&twice).finish()), names);
    // So it does if it turns out to reach beyond its storage, but not if its elements are scattered.
    let beyond = [View { offset: 1, ..view("a", "0", &[1200]) }, view("a", "1", &[1200])];
    let names = ["data/0 F32[1200]", "data/1 F32[1200]", "data/2 [4800]", "data/3 [4800]"];
    assert_eq!(shown(&Pickle::new().tensors(&beyond).finish()), names);
    let turned = View { stride: Some(vec![1, 30]), ..view("a", "0", &[30, 40]) };
    let names = ["data/0 F32[1200]", "a F32[1200]", "data/2 [4800]", "data/3 [4800]"];
    assert_eq!(shown(&Pickle::new().tensors(&[turned, view("a", "1", &[1200])]).finish()), names);
    // A tensor that is called as a storage is.
    let odd = [view("data/1", "0", &[600])];
    let names = ["data/0 F32[1200]", "data/1 F32[600]", "data/2 [4800]", "data/3 [4800]"];
    assert_eq!(shown(&Pickle::new().tensors(&odd).finish()), names);
}

#[test]
fn what_cannot_be_followed_leaves_the_storages() {
    let whole = Pickle::new().tensors(&[view("a", "0", &[1200])]).finish();
    let mut out_of_order = whole.clone();
    let at = out_of_order.windows(2).position(|w| w == b"q\x00").unwrap();
    out_of_order[at + 1] = 200;
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("cut short", whole[..whole.len() - 1].to_vec()),
        ("a memo out of order", out_of_order),
        ("a memo of 2^32", [b"\x80\x02}r\xff\xff\xff\xff", &whole[2..]].concat()),
        ("an unknown opcode", [b"\x80\x02\xff", &whole[2..]].concat()),
        ("text of the first protocol", [b"\x80\x02I1\n0", &whole[2..]].concat()),
        ("a later protocol", [b"\x80\x09", &whole[2..]].concat()),
        ("an empty stack", b"\x80\x0200.".to_vec()),
        ("a mark alone", b"\x80\x02(.".to_vec()),
        ("no mark", b"\x80\x02}u.".to_vec()),
        ("a mark doubled", b"\x80\x02(2.".to_vec()),
        ("a mark in a tuple", b"\x80\x02K\x01(K\x02\x87.".to_vec()),
        ("an odd member", b"\x80\x02}(K\x01u.".to_vec()),
        ("a text of 2^64", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec()),
        ("a long of 2^32", b"\x80\x02\x8b\xff\xff\xff\xff.".to_vec()),
        ("a call without arguments", b"\x80\x02cos\nsystem\nR.".to_vec()),
    ];
    // What takes a byte to say and more to remember.
    let bombs: [(&str, &[u8]); 6] = [
        ("doubled for ever", b"2"),
        ("dictionaries for ever", b"}"),
        ("marks for ever", b"("),
        ("remembered for ever", b"\x94"),
        ("tuples for ever", b"2\x86"),
        ("members for ever", b"}}K\x01K\x01s"),
    ];
    for (what, step) in bombs {
        cases.push((what, [b"\x80\x04}", &step.repeat((8 << 20) / step.len())[..], b"."].concat()));
    }
    cases.push(("a name without an end", [b"\x80\x02", &b"cx".repeat(4 << 20)[..], b"."].concat()));
    let text = |bytes: &[u8]| [&b"X"[..], &u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    let storage = |key: &[u8]| {
        let (key, cpu) = (text(key), text(b"cpu"));
        [&b"("[..], &text(b"storage"), b"ctorch\nFloatStorage\n", &key, &cpu, b"M\xb0\x04tq\0"].concat()
    };
    // What is long is named again and again.
    let key = [&b"\x80\x02"[..], &storage(&[b'k'; 4 << 20]), b"0"].concat();
    cases.push(("a long key of a storage", [&key[..], &b"h\0Q0".repeat(300_000), b"}."].concat()));
    let name = [text(&[&[b'k'; 4 << 20][..], b"\xff"].concat()), b"q\x000}q\x010}".to_vec()].concat();
    cases.push((
        "a long name that is no text",
        [&b"\x80\x02"[..], &name, &b"h\0h\x01s".repeat(300_000), b"."].concat(),
    ));
    let size = [&b"("[..], &b"K\x01".repeat(500_000), b"tq\x010"].concat();
    let tensor =
        [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &storage(b"0"), b"QK\0h\x01h\x01tRq\x020}"].concat();
    let members = [text(b"a"), b"h\x02s".to_vec()].concat().repeat(200_000);
    cases.push(("many dimensions", [&b"\x80\x02"[..], &size, &tensor, &members, b"."].concat()));
    for (what, pickle) in cases {
        let started = Instant::now();
        let found = shown(&pickle);
        assert!(found.iter().map(|t| t.replace(" F32[1200]", " [4800]")).eq(UNNAMED), "{what}: {found:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
    }
}

#[test]
fn what_is_deep_or_shared_is_walked_once() {
    // Each dictionary holds the one before twice: 2^20 ways to the tensor, of which the first is its name.
    let mut pickle = Pickle::new();
    pickle.op(b"}").put().text("t").tensor(&view("", "0", &[1200])).op(b"s0");
    let mut inner = 0;
    for _ in 0..20 {
        pickle.op(b"}(X\x01\0\0\0a").op(&[b'h', inner]).op(b"X\x01\0\0\0b").op(&[b'h', inner]).op(b"u").put();
        inner = *pickle.bytes.last().unwrap();
        pickle.op(b"0");
    }
    pickle.op(&[b'h', inner]);
    let found = shown(&pickle.finish());
    assert_eq!(found[0], format!("{}t F32[1200]", "a.".repeat(20)));
    assert_eq!(found[1..], UNNAMED[1..]);
    // Deeper than names go, and in itself.
    let mut pickle = Pickle::new();
    for _ in 0..100_000 {
        pickle.op(b"}X\x01\0\0\0a");
    }
    pickle.tensor(&view("", "0", &[1200]));
    for _ in 0..100_000 {
        pickle.op(b"s");
    }
    assert_eq!(shown(&pickle.finish())[0], "data/0 F32[1200]");
    let mut pickle = Pickle::new();
    pickle.op(b"}").put().op(b"X\x01\0\0\0ah\0s").text("t").tensor(&view("", "0", &[1200])).op(b"s");
    assert_eq!(shown(&pickle.finish())[0], "t F32[1200]");
}
