//! The front of bytes that somebody else wrote: numbers are taken off it until it is too short.
//!
//! Nothing here panics on them, and nothing allocates.

use crate::failure::Failure;

/// The bytes end before what they say is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

impl From<Truncated> for Failure {
    fn from(_truncated: Truncated) -> Self {
        Self::new("a message of the broker ends before what it says is in it")
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice<'a>(&'a [u8]);

impl<'a> Slice<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, byte_count: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.0.split_at_checked(byte_count).ok_or(Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Truncated> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Truncated> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Truncated> {
        self.array().map(i64::from_be_bytes)
    }

    /// Seven bits a byte, the lowest first. Longer than ten bytes is nothing that anybody writes.
    pub(crate) fn uvarint(&mut self) -> Result<u64, Truncated> {
        let mut value = 0;
        for index in 0..10 {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Truncated)
    }

    /// The same, zigzag: 0, -1, 1, -2 and so on.
    pub(crate) fn varint(&mut self) -> Result<i64, Truncated> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], want: Result<i64, Truncated>) {
        assert_eq!(Slice::new(bytes).varint(), want);
    }

    #[test]
    fn varints_are_kafkas() {
        check(&[0], Ok(0));
        check(&[1], Ok(-1));
        check(&[128, 1], Ok(64));
        check(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 1], Ok(i64::MIN));
        check(&[254, 255, 255, 255, 255, 255, 255, 255, 255, 1], Ok(i64::MAX));
        check(&[128], Err(Truncated));
        check(&[255; 11], Err(Truncated));
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        let mut slice = Slice::new(&[1, 2, 3]);
        assert_eq!(slice.take(4), Err(Truncated));
        assert_eq!((slice.i16(), slice.i16()), (Ok(0x0102), Err(Truncated)));
    }
}
