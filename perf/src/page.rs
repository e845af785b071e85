//! The report of a benchmark: one HTML file made from one file of results, with nothing to load from anywhere.
//!
//! Everything is drawn here, so the file reads and prints without scripts. The script in it only adds
//! values at the pointer, a choice of targets and of the scale, and CSV beside HdrHistogram's form.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::table;

mod axis;
mod comparison;
mod document;
mod downloads;
mod element;
mod glossary;
mod latencies;
mod legend;
mod load_curve;
mod method;
mod numbers;
mod percentile_plot;
mod plot;
mod quantity;
mod runs;
mod sampling;
mod section;
mod setup;
mod spread;
mod strip;
mod summary;
mod survey;
#[cfg(test)]
pub(crate) mod testing;
mod tick;
mod timeline;

/// Writes the report, and says where and how large it is.
pub(crate) fn write(results: &Path, report: &Path) -> Result<String, Failure> {
    let html = document::html(&table::read(results)?)?;
    fs::write(report, &html)
        .map_err(|error| Failure::io(format!("write {}", report.display()), error))?;
    Ok(format!("{}, {} KiB\n", report.display(), html.len().div_ceil(1_024)))
}
