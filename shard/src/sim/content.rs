//! What one simulated file holds: what the device has for certain, and what lies in the volatile
//! caches above it, in the order in which it came.
//!
//! It does not know when a sync is due, nor chance: who cuts the power says what is kept.
//! A sector may lie: the device gives other bytes for it than those that were written. A lie ends when
//! its sector is written again.
//!
//! Invariant: `current` is what reads see but for lies; `durable` with the versions over it, all kept,
//! is `current`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub const PAGE_BYTES: usize = 4096;
pub const SECTOR_BYTES: usize = 512;

const ALL_SECTORS: u8 = u8::MAX;
const _: () = assert!(PAGE_BYTES == SECTOR_BYTES * 8, "a page's sectors fit in one byte's bits");

/// `None` is zeros: most of a fresh file.
type Bytes = Option<Rc<[u8; PAGE_BYTES]>>;

/// Counts the mutations of a disk, from 1.
pub type Mutation = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Written past the page cache.
    Direct,
    /// Written to the page cache: a failed sync drops it for good.
    Buffered,
    /// Zeros where a truncation cut: metadata.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub mutation: Mutation,
    pub kind: Kind,
}

/// What the device gives for a sector instead of what was written.
#[derive(Clone)]
struct Lie {
    bytes: [u8; SECTOR_BYTES],
    tells: Tells,
    /// The page cache has what was written: only direct reads see the lie.
    is_hidden: bool,
}

/// How often a lie is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    Once,
    Always,
}

/// A page's content that is not yet durable.
#[derive(Clone)]
pub struct Version {
    origin: Origin,
    /// A bit for each sector that it set.
    sectors: u8,
    is_dropped: bool,
    bytes: Bytes,
}

impl Version {
    pub const fn origin(&self) -> Origin {
        self.origin
    }
}

#[derive(Clone, Default)]
struct Page {
    current: Bytes,
    /// Before the last write.
    previous: Bytes,
    durable: Bytes,
    versions: Vec<Version>,
}

#[derive(Clone, Default)]
pub struct Content {
    pages: BTreeMap<u64, Page>,
    /// Indices of pages that have versions.
    unsynced: BTreeSet<u64>,
    bytes: u64,
    bytes_durable: u64,
    /// Sizes that are not yet durable.
    sizes: Vec<(Mutation, u64)>,
    /// Up to here space is reserved.
    reserved_end: u64,
    /// By sector.
    lies: BTreeMap<u64, Lie>,
    /// The page cache has pages of it.
    is_loaded: bool,
}

impl Content {
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub const fn reserved_end(&self) -> u64 {
        self.reserved_end
    }

    /// Appends what is in `[pos, pos + bytes)`, as far as the file goes.
    pub fn read(&self, pos: u64, bytes: usize) -> Vec<u8> {
        let end = self.bytes.min(pos.saturating_add(wide(bytes)));
        let mut data = Vec::with_capacity(narrow(end.saturating_sub(pos)));
        let mut at = pos;
        while at < end {
            let (index, within) = place(at);
            let run = (PAGE_BYTES - within).min(narrow(end - at));
            match self.pages.get(&index).and_then(|page| page.current.as_ref()) {
                Some(page) => data.extend_from_slice(&page[within..within + run]),
                None => data.resize(data.len() + run, 0),
            }
            at += wide(run);
        }
        data
    }

    /// What a read gets. One through the page cache leaves its pages there.
    pub fn read_as(&mut self, kind: Kind, pos: u64, bytes: usize) -> Vec<u8> {
        let mut data = self.read(pos, bytes);
        self.is_loaded |= kind == Kind::Buffered;
        if !self.lies.is_empty() {
            let is_seen = |lie: &Lie| kind == Kind::Direct || !lie.is_hidden;
            let told = self.tell(pos, &mut data, is_seen);
            self.lies.retain(|sector, _| !told.contains(sector));
        }
        data
    }

    /// All of it, as the device gives it.
    pub fn seen(&self) -> Vec<u8> {
        let mut data = self.read(0, narrow(self.bytes));
        self.tell(0, &mut data, |_| true);
        data
    }

    /// Puts the lies that are seen upon what was read at `pos`. Answers those that were told for the last
    /// time.
    fn tell(&self, pos: u64, data: &mut [u8], is_seen: impl Fn(&Lie) -> bool) -> Vec<u64> {
        let end = pos + wide(data.len());
        let mut told = Vec::new();
        let sectors = pos / wide(SECTOR_BYTES)..end.div_ceil(wide(SECTOR_BYTES));
        for (sector, lie) in self.lies.range(sectors).filter(|(_, lie)| is_seen(lie)) {
            let start = sector * wide(SECTOR_BYTES);
            for (at, byte) in (start..).zip(lie.bytes) {
                if (pos..end).contains(&at) {
                    data[narrow(at - pos)] = byte;
                }
            }
            if lie.tells == Tells::Once {
                told.push(*sector);
            }
        }
        told
    }

    /// From now on the device gives these bytes for a sector.
    pub fn lie(&mut self, sector: u64, bytes: [u8; SECTOR_BYTES], tells: Tells) {
        let is_hidden = self.is_loaded;
        self.lies.insert(sector, Lie { bytes, tells, is_hidden });
    }

    /// The sectors that lie, and how often.
    pub fn lies(&self) -> impl Iterator<Item = (u64, Tells)> {
        self.lies.iter().map(|(sector, lie)| (*sector, lie.tells))
    }

    /// Ends the lies from a sector on.
    pub fn end_lies(&mut self, from: u64) {
        self.lies.split_off(&from);
    }

    /// The page cache forgets what lies in `[pos, end)`.
    pub fn evict(&mut self, pos: u64, end: u64) {
        let sectors = pos / wide(SECTOR_BYTES)..end.div_ceil(wide(SECTOR_BYTES));
        self.lies.range_mut(sectors).for_each(|(_, lie)| lie.is_hidden = false);
    }

    /// The page cache forgets everything.
    pub fn evict_all(&mut self) {
        self.is_loaded = false;
        self.lies.values_mut().for_each(|lie| lie.is_hidden = false);
    }

    /// A sector, and what it held before its page was last written.
    pub fn sector(&self, sector: u64) -> ([u8; SECTOR_BYTES], [u8; SECTOR_BYTES]) {
        let (index, within) = place(sector * wide(SECTOR_BYTES));
        let of = |page: &Bytes| {
            let mut bytes = [0; SECTOR_BYTES];
            if let Some(page) = page {
                bytes.copy_from_slice(&page[within..within + SECTOR_BYTES]);
            }
            bytes
        };
        let page = self.pages.get(&index);
        (page.map_or([0; _], |it| of(&it.current)), page.map_or([0; _], |it| of(&it.previous)))
    }

    /// Writes those sectors of `data` for which `lands` says so; it is given their file position.
    pub fn write(
        &mut self,
        origin: Origin,
        pos: u64,
        data: &[u8],
        mut lands: impl FnMut(u64) -> bool,
    ) {
        let mut rest = data;
        let mut at = pos;
        while !rest.is_empty() {
            let (index, within) = place(at);
            let (head, tail) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let page_pos = at - wide(within);
            let mut sectors = 0;
            for sector in within / SECTOR_BYTES..(within + head.len()).div_ceil(SECTOR_BYTES) {
                if lands(page_pos + wide(sector * SECTOR_BYTES)) {
                    sectors |= 1 << sector;
                }
            }
            self.write_page(origin, index, sectors, within, head);
            at += wide(head.len());
            rest = tail;
        }
        self.reserved_end = self.reserved_end.max(at);
    }

    /// Changes the file's end: a cut reads as zeros if the file grows again.
    pub fn set_bytes(&mut self, mutation: Mutation, bytes: u64) {
        if bytes < self.bytes {
            let (first, within) = place(bytes);
            let cut: Vec<u64> = self.pages.range(first..).map(|(index, _)| *index).collect();
            for index in cut {
                let within = if index == first { within } else { 0 };
                let sectors = ALL_SECTORS << (within / SECTOR_BYTES);
                let zeros = [0; PAGE_BYTES];
                let origin = Origin { mutation, kind: Kind::Cut };
                self.write_page(origin, index, sectors, within, &zeros[within..]);
            }
            self.reserved_end = self.reserved_end.min(bytes);
        }
        if bytes != self.bytes {
            self.bytes = bytes;
            self.sizes.push((mutation, bytes));
        }
    }

    pub fn reserve(&mut self, end: u64) {
        self.reserved_end = self.reserved_end.max(end);
    }

    /// A successful sync: what came up to `last` is durable, but for what an earlier sync dropped.
    pub fn sync(&mut self, last: Mutation) {
        self.settle(|version| version.origin.mutation <= last && !version.is_dropped);
        self.settle_size(last);
    }

    /// The end of a durable write: it, and the file's metadata.
    pub fn sync_write(&mut self, mutation: Mutation) {
        self.settle(|version| {
            version.origin.mutation == mutation
                || (version.origin.kind == Kind::Cut && version.origin.mutation <= mutation)
        });
        self.settle_size(mutation);
    }

    /// A failed sync: later ones do not cover what the page cache forgot.
    pub fn drop_unsynced(&mut self, last: Mutation) {
        for index in &self.unsynced {
            let page = self.pages.get_mut(index).expect("an unsynced page exists");
            for version in &mut page.versions {
                version.is_dropped |=
                    version.origin.kind == Kind::Buffered && version.origin.mutation <= last;
            }
        }
    }

    /// After a power cut: of each version those sectors remain that `keeps` answers; of the
    /// metadata, what came up to `metadata_last`. What remains is durable.
    pub fn cut(&mut self, metadata_last: Mutation, mut keeps: impl FnMut(u64, &Version) -> u8) {
        for index in std::mem::take(&mut self.unsynced) {
            let page = self.pages.get_mut(&index).expect("an unsynced page exists");
            for version in std::mem::take(&mut page.versions) {
                let sectors = match version.origin.kind {
                    Kind::Cut if version.origin.mutation <= metadata_last => version.sectors,
                    Kind::Cut => 0,
                    Kind::Direct | Kind::Buffered => version.sectors & keeps(index, &version),
                };
                page.durable = overlay(&page.durable, &version.bytes, sectors);
            }
            page.current.clone_from(&page.durable);
        }
        self.settle_size(metadata_last);
        self.bytes = self.bytes_durable;
        self.sizes.clear();
        self.reserved_end = self.bytes;
        self.cut_to_size();
    }

    /// The mutations that changed the size and are not durable.
    pub fn unsynced_sizes(&self) -> impl Iterator<Item = Mutation> {
        self.sizes.iter().map(|(mutation, _)| *mutation)
    }

    /// The oldest mutation that a power cut may lose.
    pub fn first_unsynced(&self) -> Option<Mutation> {
        let pages = self.unsynced.iter().filter_map(|index| self.pages.get(index));
        let versions = pages.filter_map(|page| page.versions.first());
        versions.map(|version| version.origin.mutation).chain(self.unsynced_sizes()).min()
    }

    /// The device holds nothing past the end of a file: the blocks are not the file's.
    fn cut_to_size(&mut self) {
        let (first, within) = place(self.bytes);
        let mut past = self.pages.split_off(&first);
        if within > 0
            && let Some(page) = past.remove(&first)
        {
            let mut bytes = *page.durable.unwrap_or_else(|| Rc::new([0; PAGE_BYTES]));
            bytes[within..].fill(0);
            let bytes = Some(Rc::new(bytes));
            let page = Page { current: bytes.clone(), durable: bytes, ..Page::default() };
            self.pages.insert(first, page);
        }
    }

    fn write_page(&mut self, origin: Origin, index: u64, sectors: u8, within: usize, data: &[u8]) {
        if sectors == 0 {
            return;
        }
        if !self.lies.is_empty() {
            let is_written =
                |sector: u64| sector / 8 == index && sectors & (1 << (sector % 8)) != 0;
            self.lies.retain(|sector, _| !is_written(*sector));
        }
        let page = self.pages.entry(index).or_default();
        let written = if data.len() == PAGE_BYTES && is_zero(data) {
            None
        } else {
            let mut bytes = match (&page.current, data.len()) {
                (Some(current), ..PAGE_BYTES) => **current,
                _ => [0; PAGE_BYTES],
            };
            bytes[within..within + data.len()].copy_from_slice(data);
            Some(Rc::new(bytes))
        };
        page.previous = page.current.clone();
        page.current = overlay(&page.current, &written, sectors);
        page.versions.push(Version { origin, sectors, is_dropped: false, bytes: written });
        self.unsynced.insert(index);
    }

    /// Makes the versions that are `wanted` durable: what they cover of earlier ones is gone.
    fn settle(&mut self, wanted: impl Fn(&Version) -> bool) {
        let Self { pages, unsynced, .. } = self;
        unsynced.retain(|index| {
            let page = pages.get_mut(index).expect("an unsynced page exists");
            let mut covered = 0;
            for version in page.versions.iter_mut().rev() {
                version.sectors &= !covered;
                if wanted(version) {
                    page.durable = overlay(&page.durable, &version.bytes, version.sectors);
                    covered |= version.sectors;
                    version.sectors = 0;
                }
            }
            page.versions.retain(|version| version.sectors != 0);
            if page.versions.is_empty() {
                page.durable.clone_from(&page.current);
            }
            !page.versions.is_empty()
        });
    }

    fn settle_size(&mut self, last: Mutation) {
        let settled = self.sizes.partition_point(|(mutation, _)| *mutation <= last);
        if let Some((_, bytes)) = self.sizes.drain(..settled).next_back() {
            self.bytes_durable = bytes;
        }
    }
}

/// `under`, with those sectors of `over` upon it.
fn overlay(under: &Bytes, over: &Bytes, sectors: u8) -> Bytes {
    if sectors == ALL_SECTORS {
        return over.clone();
    }
    if sectors == 0 || (under.is_none() && over.is_none()) {
        return under.clone();
    }
    let mut bytes = under.as_ref().map_or([0; PAGE_BYTES], |under| **under);
    let zeros = [0; PAGE_BYTES];
    let over = over.as_ref().map_or(&zeros, |over| over);
    for sector in (0..8).filter(|sector| sectors & (1 << sector) != 0) {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        bytes[range.clone()].copy_from_slice(&over[range]);
    }
    Some(Rc::new(bytes))
}

fn is_zero(data: &[u8]) -> bool {
    data.chunks(SECTOR_BYTES).all(|sector| sector.iter().fold(0, |all, byte| all | byte) == 0)
}

fn place(pos: u64) -> (u64, usize) {
    (pos / wide(PAGE_BYTES), narrow(pos % wide(PAGE_BYTES)))
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits in 64 bits")
}

fn narrow(count: u64) -> usize {
    usize::try_from(count).expect("the file fits in memory")
}

#[cfg(test)]
mod tests {
    use super::{Content, Kind, Origin, PAGE_BYTES, SECTOR_BYTES, Tells};

    fn page(fill: u8) -> Vec<u8> {
        vec![fill; PAGE_BYTES]
    }

    const fn direct(mutation: u64) -> Origin {
        Origin { mutation, kind: Kind::Direct }
    }

    fn write(content: &mut Content, mutation: u64, fill: u8) {
        content.write(direct(mutation), 0, &page(fill), |_| true);
        content.set_bytes(mutation, 4096.max(content.bytes()));
    }

    #[track_caller]
    fn check(content: &Content, pos: u64, want: u8) {
        assert_eq!(content.read(pos, 1), [want]);
    }

    #[test]
    fn an_unsynced_write_is_lost_with_its_size() {
        let mut content = Content::default();
        write(&mut content, 1, 7);
        check(&content, 0, 7);
        content.cut(0, |_, _| 0);
        assert_eq!(content.bytes(), 0);
    }

    #[test]
    fn a_durable_write_survives_alone() {
        let mut content = Content::default();
        write(&mut content, 1, 7);
        content.write(direct(2), 4096, &page(8), |_| true);
        content.set_bytes(2, 8192);
        content.sync_write(2);
        content.cut(2, |_, _| 0);
        check(&content, 0, 0);
        check(&content, 4096, 8);
        assert_eq!(content.bytes(), 8192);
    }

    #[test]
    fn a_write_tears_at_sectors() {
        let mut content = Content::default();
        write(&mut content, 1, 1);
        content.sync(1);
        write(&mut content, 2, 2);
        content.cut(2, |_, _| 0b1);
        check(&content, 0, 2);
        check(&content, 512, 1);
    }

    #[test]
    fn a_sync_covers_only_what_came_before() {
        let mut content = Content::default();
        write(&mut content, 1, 1);
        write(&mut content, 2, 2);
        content.sync(1);
        check(&content, 0, 2);
        content.cut(1, |_, _| 0);
        check(&content, 0, 1);
    }

    #[test]
    fn a_failed_sync_is_not_healed_by_the_next() {
        let mut content = Content::default();
        content.write(Origin { mutation: 1, kind: Kind::Buffered }, 0, b"abc", |_| true);
        content.set_bytes(1, 3);
        content.drop_unsynced(1);
        content.sync(1);
        assert_eq!(content.read(0, 3), b"abc");
        content.cut(1, |_, _| 0);
        assert_eq!(content.read(0, 3), [0, 0, 0]);
    }

    #[test]
    fn a_truncation_is_volatile_until_it_is_synced() {
        for synced in [false, true] {
            let mut content = Content::default();
            write(&mut content, 1, 1);
            content.sync(1);
            content.set_bytes(2, 100);
            if synced {
                content.sync(2);
            }
            content.cut(0, |_, _| 0);
            assert_eq!(content.bytes(), if synced { 100 } else { 4096 });
            assert_eq!(content.read(99, 1), [1]);
            content.set_bytes(3, 4096);
            check(&content, 100, if synced { 0 } else { 1 });
        }
    }

    #[test]
    fn a_lie_is_told_until_its_sector_is_written_again() {
        let mut content = Content::default();
        write(&mut content, 1, 1);
        content.lie(1, [9; SECTOR_BYTES], Tells::Always);
        for _ in 0..2 {
            assert_eq!(content.read_as(Kind::Direct, 511, 2), [1, 9]);
        }
        assert_eq!(content.read_as(Kind::Direct, 1023, 2), [9, 1]);
        check(&content, 512, 1);
        content.write(direct(2), 0, &page(2), |pos| pos == 0);
        assert_eq!(content.read_as(Kind::Direct, 511, 2), [2, 9]);
        content.write(direct(3), 0, &page(3), |pos| pos == 512);
        assert_eq!(content.read_as(Kind::Direct, 511, 2), [2, 3]);
    }

    #[test]
    fn a_lie_for_once_is_told_once() {
        let mut content = Content::default();
        write(&mut content, 1, 1);
        write(&mut content, 2, 2);
        let (is, was) = content.sector(0);
        assert_eq!((is[0], was[0]), (2, 1));
        content.lie(0, was, Tells::Once);
        assert_eq!(content.read_as(Kind::Direct, 0, 1), [1]);
        assert_eq!(content.read_as(Kind::Direct, 0, 1), [2]);
    }

    #[test]
    fn the_page_cache_hides_a_lie_from_its_readers_until_it_forgets_the_page() {
        let mut content = Content::default();
        write(&mut content, 1, 1);
        assert_eq!(content.read_as(Kind::Buffered, 0, 1), [1]);
        content.lie(0, [9; SECTOR_BYTES], Tells::Always);
        assert_eq!(content.read_as(Kind::Buffered, 0, 1), [1]);
        assert_eq!(content.read_as(Kind::Direct, 0, 1), [9]);
        content.evict(512, 4096);
        assert_eq!(content.read_as(Kind::Buffered, 0, 1), [1]);
        content.evict(0, 1);
        assert_eq!(content.read_as(Kind::Buffered, 0, 1), [9]);
    }

    #[test]
    fn a_write_that_fails_half_way_lands_by_sector() {
        let mut content = Content::default();
        write(&mut content, 1, 1);
        content.write(direct(2), 0, &page(2), |pos| pos == 512);
        let read = content.read(0, PAGE_BYTES);
        assert_eq!(read.iter().filter(|byte| **byte == 2).count(), SECTOR_BYTES);
        assert_eq!(read[512], 2);
    }
}
