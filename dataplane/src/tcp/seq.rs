//! Sequence numbers (RFC 9293 section 3.4): points on a circle of 2^32. A distance between two of them is a plain `u32`.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
};

/// A sequence number. It is no length and has no order of its own: "before" holds between numbers less than 2^31 apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether this comes before `other`.
    #[inline]
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
    /// Whether this comes after `other`.
    #[inline]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }
    /// Whether this is `other` or comes before it.
    #[inline]
    pub const fn up_to(self, other: Self) -> bool {
        !self.after(other)
    }
    /// Whether this is `other` or comes after it.
    #[inline]
    pub const fn from(self, other: Self) -> bool {
        !self.before(other)
    }
    /// Whether this is one of the `len` numbers that begin at `start`.
    #[inline]
    pub const fn within(self, start: Self, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }
    /// The earlier of two.
    #[inline]
    pub const fn min(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
    /// The later of two.
    #[inline]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }
    /// How far this is after `earlier`; zero if it is before it.
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        if self.before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }
}

impl Add<u32> for Seq {
    type Output = Self;
    #[inline]
    fn add(self, len: u32) -> Self {
        Self(self.0.wrapping_add(len))
    }
}
impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, len: u32) {
        *self = *self + len;
    }
}
impl Sub<u32> for Seq {
    type Output = Self;
    #[inline]
    fn sub(self, len: u32) -> Self {
        Self(self.0.wrapping_sub(len))
    }
}
/// The distance from the other to this one, which must not come before it.
impl Sub for Seq {
    type Output = u32;
    #[inline]
    fn sub(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_holds_around_the_circle(start: u32, a in 0u32..1 << 31, b in 0u32..1 << 31) {
            let (origin, x, y) = (Seq(start), Seq(start) + a, Seq(start) + b);
            prop_assert_eq!(x.before(y), a < b);
            prop_assert_eq!(x.up_to(y), a <= b);
            prop_assert_eq!(x.after(y), a > b);
            prop_assert_eq!(x.from(y), a >= b);
            prop_assert_eq!(x.max(y) - origin, a.max(b));
            prop_assert_eq!(x.min(y) - origin, a.min(b));
            prop_assert_eq!(x.since(y), a.saturating_sub(b));
        }

        #[test]
        fn a_window_holds_its_numbers(start: u32, len: u32, offset: u32) {
            prop_assert_eq!((Seq(start) + offset).within(Seq(start), len), offset < len);
        }
    }
}
