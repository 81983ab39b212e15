//! How the allocator keeps what is given back to it.

/// glibc gives every thread a heap of its own, up to eight for a processor, and what one thread frees helps no other. Half as many heaps
/// as processors take a fifth less memory when databases are compared, in the same time. Called before there are threads;
/// what the environment says of heaps counts more.
pub fn share() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() && std::env::var_os("GLIBC_TUNABLES").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let heaps = libc::c_int::try_from(processors.div_ceil(2)).unwrap_or(libc::c_int::MAX);
        // SAFETY: sets a number; nothing else runs yet. Where it is refused, all is as it was.
        #[allow(unsafe_code)]
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, heaps);
        }
    }
}
