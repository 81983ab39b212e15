//! Names that are no paths, of tensors, chosen by patterns.
//!
//! A name is chosen by its own spelling, whatever characters it has; else the syntax of [`Patterns`] counts, for the name
//! as if it stood at the top: `*` crosses dots, not slashes. The last pattern that fits decides, and a leading `!` takes back;
//! where the first one does, all others are chosen to begin with.

use crate::error::{Error, Result, printable};
use crate::repo::lookup::join;
use crate::source::Patterns;

/// The numbers of the names that are chosen, in order; of no patterns all.
///
/// # Errors
/// [`Error::NotFound`] if a pattern fits none; [`Error::Usage`] if it cannot be meant. `of` says in both whose names
/// they are.
pub fn choose(names: &[&[u8]], patterns: &[String], of: &[u8]) -> Result<Vec<usize>> {
    let mut chosen = vec![patterns.is_empty(); names.len()];
    for (number, pattern) in patterns.iter().enumerate() {
        let fits = fitting(names, pattern)?;
        let (fits, verdict) = match pattern.strip_prefix('!') {
            Some(body) if fits.is_empty() => (fitting(names, body)?, false),
            _ => (fits, true),
        };
        if fits.is_empty() {
            let what = format!("tensor {} in {}", printable(pattern.as_bytes()), printable(of));
            return Err(Error::NotFound { what });
        }
        if number == 0 && !verdict {
            chosen.fill(true);
        }
        fits.into_iter().for_each(|number| chosen[number] = verdict);
    }
    Ok(chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(number, _)| number).collect())
}

fn fitting(names: &[&[u8]], body: &str) -> Result<Vec<usize>> {
    let numbered = || names.iter().enumerate();
    let exact: Vec<usize> =
        numbered().filter(|(_, name)| **name == body.as_bytes()).map(|(n, _)| n).collect();
    // What begins with `!` is a spelling here and no pattern.
    if !exact.is_empty() || body.starts_with('!') {
        return Ok(exact);
    }
    let patterns = Patterns::new(&[body.to_owned()], false, "tensors")?;
    let fits = |name: &[u8]| !name.is_empty() && patterns.judge(&join(b"/", name), false) == Some(true);
    Ok(numbered().filter(|(_, name)| fits(name)).map(|(n, _)| n).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_by_spelling_and_by_pattern() {
        let names =
            [&b"model.layers.0.q.weight"[..], b"model.layers.1.q.weight", b"lm_head.weight", b"a/b", b"w[0]"];
        let of = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            choose(&names, &patterns, b"/m").map_err(|e| e.to_string())
        };
        for (patterns, expected) in [
            (&[][..], vec![0, 1, 2, 3, 4]),
            (&["lm_head.weight"], vec![2]),
            (&["*.weight"], vec![0, 1, 2]),
            (&["model.layers.?.q.weight"], vec![0, 1]),
            (&["lm_head*", "model.layers.1.*"], vec![1, 2]),
            (&["*.weight", "!lm_head*"], vec![0, 1]),
            (&["!*.weight"], vec![3, 4]),
            (&["w[0]"], vec![4]),
            (&["a/b"], vec![3]),
            (&["a/*"], vec![3]),
        ] {
            assert_eq!(of(patterns), Ok(expected), "{patterns:?}");
        }
        assert_eq!(of(&["none*"]).unwrap_err(), "tensor none* in /m was not found");
        assert!(of(&["lm_head.weight", "no\nne"]).unwrap_err().contains("no\\nne"));
        assert!(of(&["!none"]).is_err() && of(&[""]).is_err() && of(&["../x"]).is_err());
    }

    #[test]
    fn a_name_that_looks_like_a_pattern_is_itself() {
        let names = [&b"!w"[..], b"*", b"w", b""];
        let of = |pattern: &str| choose(&names, &[pattern.to_owned()], b"/m").unwrap();
        assert_eq!((of("!w"), of("*"), of("?")), (vec![0], vec![1], vec![1, 2]));
    }
}
