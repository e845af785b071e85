//! One partition's records of a Produce request, as any stranger may send them, and a stored log,
//! as any disk may return it.
//!
//! The first byte chooses: rules, step sizes, and whether the rest is taken as it is or gets the
//! framing and the checksum that let it through to the records.
#![no_main]

use bytes::Bytes;
use engine::admission::{Admission, Admitted, Keys, Permit, Progress, Refusal, Rules, Validation};
use engine::batch::{self, Batch, HEADER_BYTES, TimestampType};
use engine::codec::encoder::Compression;
use engine::id::{Offset, Timestamp};
use engine::records::lookup::{self, Lookup, Wanted};
use engine::records::{Records, RecordsError};
use libfuzzer_sys::fuzz_target;

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let records = if choice & 1 == 0 { bytes.to_vec() } else { sealed(bytes) };
    assert!(batch::walk(&records, None).count() <= records.len() / HEADER_BYTES);

    let records = Bytes::from(records);
    let rules = rules(*choice);
    let one = admit(records.clone(), &rules, usize::MAX);
    let budget_bytes = 1 + usize::from(choice >> 5) * 100;
    let many = admit(records, &rules, budget_bytes);
    assert_eq!(one.as_ref().err(), many.as_ref().err(), "a verdict does not depend on the steps");
    if let Ok(admitted) = one {
        check_admitted(&admitted, &rules);
    }
});

fn rules(choice: u8) -> Rules {
    Rules {
        batch_bytes_max: 1 << 20,
        segment_bytes_max: 1 << 20,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        timestamp_before_ms_max: i64::MAX,
        timestamp_after_ms_max: if choice & 2 == 0 { i64::MAX } else { 3_600_000 },
        timestamp_type: if choice & 4 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        keys: if choice & 8 == 0 { Keys::Optional } else { Keys::Required },
        validation: if choice & 16 == 0 { Validation::Full } else { Validation::Headers },
        compression: match choice >> 6 {
            0 => None,
            1 => Some(Compression::None),
            2 => Some(Compression::Lz4 { level: 3 }),
            _ => Some(Compression::Zstd { level: 1 }),
        },
        transactional: if choice & 32 == 0 { Permit::Allowed } else { Permit::Refused },
        zstd: Permit::Allowed,
    }
}

/// The bytes as one whole batch with a checksum that holds.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    batch.resize(batch.len().max(HEADER_BYTES), 0);
    let length =
        i32::try_from(batch.len() - batch::LENGTH_OVERHEAD_BYTES).expect("inputs are short");
    batch[0..8].fill(0);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = batch::MAGIC.cast_unsigned();
    // As many records as offsets, and codecs that exist.
    batch[22] %= 5;
    batch[57..59].fill(0);
    let count = i32::from_be_bytes([0, 0, batch[59], batch[60]]);
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn admit(records: Bytes, rules: &Rules, budget_bytes: usize) -> Result<Admitted, Refusal> {
    let mut admission = Admission::begin(Some(records), rules, NOW)?;
    while admission.step(budget_bytes)? == Progress::More {}
    let Some(mut recompression) = admission.recompression()? else {
        return Ok(admission.finish());
    };
    while recompression.step(budget_bytes)? == Progress::More {}
    Ok(recompression.finish())
}

/// What was admitted is sound on the disk, and all its readers can read it.
fn check_admitted(admitted: &Admitted, rules: &Rules) {
    let mut stored = admitted.batch.to_vec();
    if let Some(patch) = &admitted.patch {
        patch.apply(&mut stored);
    }
    let view = Batch::parse(&stored).expect("it was admitted");
    assert_eq!(view.check_stored(Offset::ZERO), Ok(()));
    assert_eq!(view.summary().as_ref(), Ok(&admitted.summary));

    let stored = Bytes::from(stored);
    let read = read(&stored);
    let latest = find_latest(&stored);
    if rules.validation == Validation::Full {
        assert_eq!(read, Ok(admitted.summary.record_count));
        assert!(latest.expect("it was admitted").is_some());
    }
}

fn read(batch: &Bytes) -> Result<u32, RecordsError> {
    let mut count = 0;
    for record in Records::new(batch, DECOMPRESSED_BYTES_MAX)? {
        record?;
        count += 1;
    }
    Ok(count)
}

fn find_latest(batch: &Bytes) -> Result<Option<lookup::Found>, RecordsError> {
    let mut lookup = Lookup::begin(batch, Wanted::Latest, Offset::ZERO, DECOMPRESSED_BYTES_MAX)?;
    loop {
        if let lookup::Progress::Done(found) = lookup.step(1000)? {
            return Ok(found);
        }
    }
}
