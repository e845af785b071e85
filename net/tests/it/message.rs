//! Random messages of any API and version, from their schemas and a seed.

use net::api::{APIS, ApiKey};
use net::codec::Layout;
use net::schema::{ABSENT, Kind, PRESENT, Struct};
use net::writer::Writer;

/// The same message twice: as a careful client writes it, and as a careless one may.
pub(crate) struct Message {
    pub(crate) clean: Vec<u8>,
    pub(crate) noisy: Vec<u8>,
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a usize has at most 64 bits");
        usize::try_from(self.next() % end).expect("below a usize")
    }
}

/// Every API that is decoded by generated code, in each version that is spoken.
pub(crate) fn generated_versions() -> impl Iterator<Item = (ApiKey, i16)> {
    all_versions().filter(|(api, _)| !matches!(api, ApiKey::Produce | ApiKey::Fetch))
}

pub(crate) fn all_versions() -> impl Iterator<Item = (ApiKey, i16)> {
    APIS.iter().flat_map(|api| (api.working_first..=api.last).map(|version| (api.key, version)))
}

pub(crate) fn message(
    schema: &Struct,
    version: i16,
    layout: Layout,
    random: &mut Random,
) -> Message {
    let mut generator =
        Generator { version, random, clean: Writer::new(layout), noisy: Writer::new(layout) };
    generator.fields(schema);
    Message { clean: generator.clean.into_bytes(), noisy: generator.noisy.into_bytes() }
}

struct Generator<'r> {
    version: i16,
    random: &'r mut Random,
    clean: Writer,
    noisy: Writer,
}

impl Generator<'_> {
    fn fields(&mut self, schema: &Struct) {
        let version = self.version;
        for field in schema.fields.iter().filter(|field| field.is_in(version)) {
            if field.is_nullable(version) && self.random.below(3) == 0 {
                self.null(field.kind());
            } else {
                self.value(field.kind());
            }
        }
        self.clean.end_struct();
        // Unknown tags, one of them twice and not in order.
        self.noisy.tagged(&[(99, vec![1, 2]), (77, Vec::new()), (99, vec![3])]);
    }

    fn null(&mut self, kind: &Kind) {
        match (kind, self.clean.layout()) {
            (Kind::String, Layout::Plain) => {
                self.clean.i16(-1);
                self.noisy.i16(-2);
            }
            (_, Layout::Plain) => {
                self.clean.i32(-1);
                self.noisy.i32(-2);
            }
            (_, Layout::Flexible) => self.both(|writer| writer.null_count()),
        }
    }

    fn value(&mut self, kind: &Kind) {
        match kind {
            // A bool is one byte too, so it is 0 or 1 in a clean message.
            Kind::Fixed(1) => {
                let value = self.random.below(2) == 1;
                self.both(|writer| writer.bool(value));
            }
            Kind::Fixed(byte_count) => {
                let raw: Vec<u8> =
                    (0..*byte_count).map(|_| self.random.next().to_be_bytes()[0]).collect();
                self.both(|writer| writer.raw(&raw));
            }
            Kind::String => self.string(),
            Kind::Bytes => {
                let raw = vec![self.random.next().to_be_bytes()[0]; self.random.below(30)];
                self.both(|writer| writer.bytes(Some(&raw)));
            }
            Kind::Array(element) => {
                for _ in 0..self.count() {
                    self.value(element);
                }
            }
            Kind::Structs(schema) => {
                for _ in 0..self.count() {
                    self.fields(schema);
                }
            }
            Kind::Struct(schema) => self.fields(schema),
            Kind::Optional(schema) => self.optional(schema),
        }
    }

    /// Any negative byte is null, any other means that a struct follows.
    fn optional(&mut self, schema: &Struct) {
        let is_null = self.random.below(3) == 0;
        self.clean.raw(if is_null { &ABSENT } else { &PRESENT });
        self.noisy.raw(if is_null { &[0x80] } else { &[0x7f] });
        if !is_null {
            self.fields(schema);
        }
    }

    /// Half a character in the noisy message is a replacement character in the clean one.
    fn string(&mut self) {
        let text = "topic-\u{e9}".repeat(self.random.below(30));
        let clean = format!("{text}\u{fffd}");
        let noisy = [text.as_bytes(), b"\xc3"].concat();
        self.clean.string(&clean);
        match self.noisy.layout() {
            Layout::Plain => self.noisy.i16(i16::try_from(noisy.len()).expect("a short text")),
            Layout::Flexible => self.noisy.bytes_length(noisy.len()),
        }
        self.noisy.raw(&noisy);
    }

    fn count(&mut self) -> usize {
        let count = self.random.below(4);
        self.both(|writer| writer.count(count));
        count
    }

    fn both(&mut self, write: impl Fn(&mut Writer)) {
        write(&mut self.clean);
        write(&mut self.noisy);
    }
}
