//! The tiers, and which of their functions this CPU may call: decided here and nowhere else.

use std::fmt;

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::{CodeFunctions, Functions, Sum, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A set of instructions that the kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Plain Rust, on any CPU.
    Scalar,
    /// x86-64 with AVX2 and FMA: 8 floats a register.
    Avx2,
    /// x86-64 with AVX-512 F: 16 floats a register, and masks for the tail.
    Avx512,
    /// 64-bit Arm: 4 floats a register.
    Neon,
}

impl Tier {
    /// Every tier, on whatever CPU; of those that a CPU has, the later is the faster.
    pub const ALL: [Tier; 4] = [Tier::Scalar, Tier::Avx2, Tier::Avx512, Tier::Neon];

    /// The name in `LODESTORE_KERNEL` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
            Tier::Neon => "neon",
        }
    }

    /// Whether this CPU, and the system that runs on it, has the tier.
    pub fn is_available(self) -> bool {
        self.f32().is_some()
    }

    /// The functions of the tier for floats, if this CPU may call them.
    pub(super) fn f32(self) -> Option<&'static Functions> {
        match self {
            Tier::Scalar => Some(&scalar::F32),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => Some(&avx2::F32),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if is_x86_feature_detected!("avx512f") => Some(&avx512::F32),
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => Some(&neon::F32),
            _ => None,
        }
    }

    /// As [`codes`](Self::codes), for f16 and bf16.
    pub(super) fn halves(self) -> [&'static Functions; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if is_x86_feature_detected!("avx512f") => [&avx512::F16, &avx512::BF16],
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2
                if is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c") =>
            {
                [&avx2::F16, &avx2::BF16]
            }
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => [&neon::F16, &neon::BF16],
            _ => [&scalar::F16, &scalar::BF16],
        }
    }

    /// As [`codes`](Self::codes), for i8 and u8.
    pub(super) fn bytes(self) -> [&'static Functions; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") => {
                [&avx512::I8, &avx512::U8]
            }
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 | Tier::Avx2 if is_x86_feature_detected!("avx2") => [&avx2::I8, &avx2::U8],
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => [&neon::I8, &neon::U8],
            _ => [&scalar::I8, &scalar::U8],
        }
    }

    /// As [`codes`](Self::codes), for bits.
    pub(super) fn bits(self) -> &'static Sum {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vpopcntdq") => {
                &avx512::BITS
            }
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 | Tier::Avx2 if is_x86_feature_detected!("avx2") => &avx2::BITS,
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => &neon::BITS,
            _ => &scalar::BITS,
        }
    }

    /// The functions of the tier for codes, and of the next lower one where this CPU lacks an instruction for them.
    pub(super) fn codes(self) -> &'static CodeFunctions {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if avx512::has_codes() => &avx512::CODES,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 | Tier::Avx2 if avx2::has_codes() => &avx2::CODES,
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => &neon::CODES,
            _ => &scalar::CODES,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
