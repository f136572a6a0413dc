//! Operators of what is put together.

/// Gives a type the operators `!`, `&`, `|` and `-` that references to it have.
macro_rules! by_value {
    ($type:ty) => {
        impl Not for $type {
            type Output = $type;

            fn not(self) -> $type {
                !&self
            }
        }

        impl BitAnd for $type {
            type Output = $type;

            fn bitand(self, other: $type) -> $type {
                &self & &other
            }
        }

        impl BitOr for $type {
            type Output = $type;

            fn bitor(self, other: $type) -> $type {
                &self | &other
            }
        }

        impl Sub for $type {
            type Output = $type;

            fn sub(self, other: $type) -> $type {
                &self - &other
            }
        }
    };
}

pub(crate) use by_value;
