//! Padmé: lengths that tell little (Nikitin et al., "Reducing Metadata Leakage
//! from Encrypted Files and Communication with PURBs", PoPETs 2019).
//!
//! A length L keeps its ⌊log₂ ⌊log₂ L⌋⌋ + 1 upper bits; the rest is rounded up.

/// Distance between two padded lengths around `len`.
pub fn step(len: u64) -> u64 {
    if len < 4 {
        return 1;
    }
    let e = len.ilog2();
    let s = e.ilog2() + 1;
    1 << (e - s)
}

/// Smallest padded length ≥ `len`.
pub fn padded_len(len: u64) -> u64 {
    // Rounding up may reach the next power of two, whose step divides it: still a padded length.
    len.next_multiple_of(step(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_paper() {
        assert_eq!((0..9).map(padded_len).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(padded_len(9), 10);
        assert_eq!(padded_len(1 << 24), 1 << 24);
        assert_eq!(padded_len((1 << 24) + 1), (1 << 24) + (1 << 19));
        for len in [9u64, 100, 1000, 12_345, 1 << 20, (1 << 33) - 1] {
            let padded = padded_len(len);
            assert!(padded >= len && padded_len(padded) == padded);
            assert!((padded - len) as f64 <= 0.125 * len as f64);
        }
    }
}
