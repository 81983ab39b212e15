//! A key file as one page of text, for paper (`docs/format.md`, "Key page").
//!
//! Lines of 36 bytes in base32 (RFC 4648, no padding), each with its number in front and a
//! check of four characters behind, so that a misread character is found in its own
//! line. Still under its password: the page alone opens nothing.

use std::fmt::Write;

use crate::crypto::hash::object_name;
use crate::error::Malformed;
use crate::format::keyfile::KEYFILE_LEN;
use crate::id::KeyId;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LINE_BYTES: usize = 36;
const CHECK_CHARS: usize = 4;
const BEGIN: &str = "-----BEGIN BALLAST KEY-----";
const END: &str = "-----END BALLAST KEY-----";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            out.push(char::from(ALPHABET[(bits >> held & 31) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.push(char::from(ALPHABET[(bits << (5 - held) & 31) as usize]));
    }
    out
}

/// Value of a character; what people misread is read as what they meant.
fn value(c: char) -> Option<u32> {
    match c.to_ascii_uppercase() {
        c @ 'A'..='Z' => Some(u32::from(c) - u32::from('A')),
        c @ '2'..='7' => Some(u32::from(c) - u32::from('2') + 26),
        '0' => Some(14), // O
        '1' => Some(8),  // I
        '8' => Some(1),  // B
        _ => None,
    }
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0u32, 0u32);
    for c in text.chars() {
        bits = bits << 5 | value(c)?;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 255).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(out)
}

fn check(number: usize, bytes: &[u8]) -> String {
    let mut input = (number as u64).to_le_bytes().to_vec();
    input.extend_from_slice(bytes);
    base32(&object_name(&input))[..CHECK_CHARS].to_owned()
}

/// The page.
pub fn export(file: &[u8], location: &str, label: &str) -> String {
    let id = KeyId(object_name(file));
    let mut page = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        page.write_fmt(text).expect("because writing to a string cannot fail");
        page.push('\n');
    };
    line(format_args!("Ballast key of the repository at {location}"));
    line(format_args!("Label: {label}    Key: {}", id.short()));
    line(format_args!("Needed with its password if the repository loses its key files:"));
    line(format_args!("    ballast -r REPOSITORY key import PAGE"));
    line(format_args!("{BEGIN}"));
    for (i, bytes) in file.chunks(LINE_BYTES).enumerate() {
        let text = base32(bytes);
        let groups: Vec<_> = text.as_bytes().chunks(10).map(|g| String::from_utf8_lossy(g)).collect();
        line(format_args!("{:02} {} {}", i + 1, groups.join(" "), check(i + 1, bytes)));
    }
    line(format_args!("{END}"));
    page
}

/// Reads a page; the message names the line that was misread.
pub fn import(page: &str) -> Result<Vec<u8>, Malformed> {
    let body = page
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(body, _)| body)
        .ok_or_else(|| Malformed::new("no page of a key: its first or last line is missing"))?;
    let mut file = Vec::new();
    let lines = body.lines().map(str::trim).filter(|l| !l.is_empty());
    for (i, line) in lines.enumerate() {
        let number = i + 1;
        let misread = || Malformed::new(format!("line {number} was misread"));
        let (head, rest) = line.split_once(char::is_whitespace).ok_or_else(misread)?;
        if head.parse() != Ok(number) {
            return Err(Malformed::new(format!("line {number} is missing or out of order")));
        }
        let text: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
        let at = text
            .len()
            .checked_sub(CHECK_CHARS)
            .filter(|at| text.is_char_boundary(*at))
            .ok_or_else(misread)?;
        let (text, given) = text.split_at(at);
        let bytes = unbase32(text).ok_or_else(misread)?;
        let same = |a: char, b: char| value(a).is_some() && value(a) == value(b);
        if bytes.len() > LINE_BYTES
            || !check(number, &bytes).chars().zip(given.chars()).all(|(a, b)| same(a, b))
        {
            return Err(misread());
        }
        if file.len() + bytes.len() > KEYFILE_LEN {
            return Err(Malformed::new("the page has too many lines"));
        }
        file.extend_from_slice(&bytes);
    }
    if file.len() == KEYFILE_LEN { Ok(file) } else { Err(Malformed::new("lines are missing at the end")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut out = vec![0; KEYFILE_LEN];
        blake3::Hasher::new().update(b"key").finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn a_page_comes_back_whatever_happened_to_its_spaces() {
        let page = export(&file(), "/srv/vault", "laptop");
        assert!(page.lines().count() < 60 && page.lines().all(|l| l.len() <= 80), "{page}");
        assert_eq!(import(&page).unwrap(), file());
        assert_eq!(import(&page.replace(BEGIN, "x").replace('x', BEGIN).replace('O', "0")).unwrap(), file());
        let (head, rest) = page.split_once(BEGIN).unwrap();
        let (body, tail) = rest.split_once(END).unwrap();
        let spaced = format!("{head}{BEGIN}{}{END}{tail}", body.to_lowercase().replace('\n', "\r\n\n   "));
        assert_eq!(import(&spaced).unwrap(), file());
    }

    #[test]
    fn a_misread_character_names_its_line() {
        let page = export(&file(), "/srv/vault", "laptop");
        let line = page.lines().find(|l| l.starts_with("07 ")).unwrap();
        let wrong = if &line[5..6] == "Q" { "R" } else { "Q" };
        let bad = page.replace(line, &format!("{}{wrong}{}", &line[..5], &line[6..]));
        assert_eq!(import(&bad).unwrap_err().0, "line 7 was misread");
        assert!(import(&page.replace(line, "")).unwrap_err().0.contains("line 7"));
        assert!(import("").is_err());
        assert!(import(&page.replace("07 ", "07 ÄÖ")).is_err());
    }
}
