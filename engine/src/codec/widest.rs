//! Plain loops, compiled once more for the wider instructions that most processors have.
//!
//! All `unsafe` that this takes stands here: a function may only be called where the processor has what it is compiled for.

/// Makes a function that calls another one, which must be `#[inline(always)]`, as it is compiled with AVX2 and BMI2 where
/// the processor has them.
macro_rules! widest {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $plain:path) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
                #[target_feature(enable = "avx2,bmi2")]
                fn wide($($arg: $type),*) $(-> $result)? {
                    $plain($($arg),*)
                }
                // SAFETY: the processor has what the function is compiled for.
                #[allow(unsafe_code)]
                return unsafe { wide($($arg),*) };
            }
            $plain($($arg),*)
        }
    };
}

pub(crate) use widest;
