//! `check`: what matters is found, what does not is not reported, the touched files are the right
//! ones, and what was read is remembered.

mod check {
    pub mod beside;
    pub mod matrix;
    pub mod memory;
    pub mod scene;
}
