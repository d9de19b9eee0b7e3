//! Reading and writing of packed lists: variable-length numbers and bits.

use super::error::DecodeError;

/// Writes a number, seven bits to a byte, the lowest first (LEB128).
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The length of a number, as [`put_varint`] writes it.
pub(super) fn varint_len(value: u128) -> usize {
    let bits = (u128::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// A position in a packed list.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a list that errors call `what`.
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { what, bytes, at: 0 }
    }

    /// An error here.
    pub(super) fn error(&self, problem: &'static str) -> DecodeError {
        DecodeError::Packed { what: self.what, problem, at: self.at }
    }

    /// A limit broken here.
    pub(super) fn check_limit(&self, count: u128, max: usize) -> Result<usize, DecodeError> {
        match usize::try_from(count) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(DecodeError::Limit {
                what: self.what,
                count: u64::try_from(count).unwrap_or(u64::MAX),
                max: max as u64,
            }),
        }
    }

    /// What is left to read.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// How far it is read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// One byte.
    pub(super) fn take_byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| self.error("it ends early"))?;
        self.at += 1;
        Ok(byte)
    }

    /// So many bytes.
    pub(super) fn take_bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..count).ok_or_else(|| self.error("it ends early"))?;
        self.at += count;
        Ok(bytes)
    }

    /// A number, in its shortest form.
    pub(super) fn take_varint(&mut self) -> Result<u128, DecodeError> {
        let mut value = 0_u128;
        let mut shift = 0;
        loop {
            let byte = self.take_byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift >= u128::BITS || (shift > 0 && (bits << shift) >> shift != bits) {
                return Err(self.error("a number is too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("a number is longer than it needs to be"));
                }
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.remaining() > 0 {
            return Err(self.error("unexpected bytes follow"));
        }
        Ok(())
    }
}

/// Writes numbers of `width` bits each (at most 32), the lowest bit first, the last byte filled up
/// with zeros. Numbers of no bits take no bytes.
pub(super) fn put_bits(out: &mut Vec<u8>, width: u32, numbers: impl Iterator<Item = u32>) {
    let (mut pool, mut filled) = (0_u64, 0);
    for number in numbers {
        pool |= u64::from(number) << filled;
        filled += width;
        while filled >= 8 {
            out.push(pool as u8);
            pool >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(pool as u8);
    }
}

/// Reads `count` numbers of `width` bits each.
pub(super) fn take_bits(
    reader: &mut Reader<'_>,
    width: u32,
    count: usize,
) -> Result<Vec<u32>, DecodeError> {
    let bytes = reader.take_bytes((count * width as usize).div_ceil(8))?;
    let mut numbers = Vec::with_capacity(count);
    let (mut pool, mut filled, mut next) = (0_u64, 0, bytes.iter());
    for _ in 0..count {
        while filled < width {
            // The length was computed from the count, so this never runs out.
            pool |= u64::from(next.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        numbers.push((pool & ((1 << width) - 1)) as u32);
        pool >>= width;
        filled -= width;
    }
    if pool != 0 {
        return Err(reader.error("a bit is set behind the last number"));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_one_form() {
        let cases: [(&[u8], &str); 4] = [
            (&[], "it ends early at byte 0"),
            (&[0x80], "it ends early at byte 1"),
            (&[0x80, 0x00], "a number is longer than it needs to be at byte 2"),
            (&[0xff; 19], "a number is too large at byte 19"),
        ];
        for (bytes, expected) in cases {
            let error = Reader::new("x", bytes).take_varint().unwrap_err().to_string();
            assert_eq!(error, format!("x: {expected}"), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u128, small: u8, shift in 0u32..128) {
            for value in [value, value >> shift, small.into()] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(out.len(), varint_len(value));
                let mut reader = Reader::new("number", &out);
                prop_assert_eq!(reader.take_varint(), Ok(value));
                prop_assert_eq!(reader.finish(), Ok(()));
            }
        }

        #[test]
        fn bits_come_back(
            width in 0u32..=32,
            numbers in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let mask = ((1_u64 << width) - 1) as u32;
            let numbers: Vec<u32> = numbers.iter().map(|number| number & mask).collect();
            let mut out = Vec::new();
            put_bits(&mut out, width, numbers.iter().copied());
            let mut reader = Reader::new("bits", &out);
            prop_assert_eq!(take_bits(&mut reader, width, numbers.len()), Ok(numbers));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
