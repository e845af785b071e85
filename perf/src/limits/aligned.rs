//! Memory for direct I/O: it begins where a disk block may begin.

/// A page, and a block of every disk.
const ALIGNMENT: usize = 4 << 10;

pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    byte_count: usize,
}

impl Aligned {
    pub(crate) fn of(byte_count: usize) -> Self {
        let memory = vec![0x5a; byte_count + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        assert!(start < ALIGNMENT);
        Self { memory, start, byte_count }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.byte_count]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.byte_count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_block() {
        let memory = Aligned::of(4_096);
        assert_eq!(memory.bytes().len(), 4_096);
        assert!(memory.bytes().as_ptr().addr().is_multiple_of(ALIGNMENT));
    }
}
