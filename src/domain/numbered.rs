//! Cases that stand as numbers in the spool and in rows. A number once given is never given again.

/// The ways there and back, for an enum that says which numbers its cases have.
macro_rules! numbered {
    ($name:ident) => {
        impl $name {
            pub fn number(self) -> u8 {
                self as u8
            }

            /// The one of this number.
            pub fn numbered(number: i64) -> Option<Self> {
                $name::ALL.into_iter().find(|case| i64::from(case.number()) == number)
            }
        }
    };
}

pub(super) use numbered;
