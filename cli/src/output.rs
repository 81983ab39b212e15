//! Values as people read them. Names in snapshots are hostile: whoever could write a
//! file name could otherwise write to the terminal of who lists it.

use std::fmt::Write;

/// Would `c` do something other than show itself? Controls, and the marks that
/// turn the direction of text around.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if u32::from(c) < 0x80 => _ = write!(out, "\\x{:02x}", u32::from(c)),
        c => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
    }
}

/// One line of text with everything unsafe shown escaped.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { push_escaped(&mut out, c) } else { out.push(c) }
    }
    out
}

/// A name, so that two names never look the same: also backslashes are doubled, and
/// bytes that are not UTF-8 are shown as `\xff`.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for piece in bytes.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if is_unsafe(c) => push_escaped(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in piece.invalid() {
            _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// JSON that means the same and holds nothing a terminal would act on.
pub fn safe_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// `13.4 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024.0 is shown as 1.0 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// `0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 04 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match seconds {
        s if s < 9.995 => format!("{:.2} s", s.max(0.0)),
        s if s < 59.95 => format!("{s:.1} s"),
        _ if whole < 3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `512.0 MiB/s`; nothing where there is nothing to divide.
pub fn rate(bytes: u64, seconds: f64) -> Option<String> {
    (bytes > 0 && seconds > 0.001).then(|| format!("{}/s", size((bytes as f64 / seconds) as u64)))
}

/// `-rwsr-xr-x`, as `ls -l` shows it; `kind` is its first letter.
pub fn mode(kind: char, mode: u32) -> String {
    let mut out = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (14_388_000_000, "13.4 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn counts() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!(counted(0, "file", "files"), "0 files");
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.0, "0.00 s"),
            (-1.0, "0.00 s"),
            (0.424, "0.42 s"),
            (9.999, "10.0 s"),
            (12.34, "12.3 s"),
            (59.97, "1 min 00 s"),
            (185.0, "3 min 05 s"),
            (7440.0, "2 h 04 min"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(rate(1 << 20, 2.0).as_deref(), Some("512.0 KiB/s"));
        assert_eq!(rate(0, 2.0), None);
        assert_eq!(rate(9, 0.0), None);
    }

    #[test]
    fn modes() {
        for (kind, bits, text) in [
            ('-', 0o644, "-rw-r--r--"),
            ('d', 0o1777, "drwxrwxrwt"),
            ('-', 0o4755, "-rwsr-xr-x"),
            ('-', 0o2640, "-rw-r-S---"),
        ] {
            assert_eq!(mode(kind, bits), text);
        }
    }

    #[test]
    fn hostile_names_are_shown_not_obeyed() {
        for (bytes, text) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            (b"\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
            (b"two\nlines\r\t", "two\\nlines\\r\\t"),
            (b"back\\slash \\n", "back\\\\slash \\\\n"),
            (b"latin\xe9", "latin\\xe9"),
            ("c1 \u{9b}31m".as_bytes(), "c1 \\u{9b}31m"),
            ("cod\u{202e}gpj.exe".as_bytes(), "cod\\u{202e}gpj.exe"),
            ("日本語 größe".as_bytes(), "日本語 größe"),
        ] {
            assert_eq!(name(bytes), text);
            assert!(!name(bytes).chars().any(is_unsafe));
            assert_eq!(safe(&name(bytes)), name(bytes), "what is safe stays as it is");
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let hostile = "\u{1b}[2J\u{9b}31m \u{202e} \u{7f} \u{e0041} ü \"quoted\"";
        let json = safe_json(&serde_json::to_string(hostile).unwrap());
        assert!(!json.chars().any(is_unsafe));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
