//! The steps of a workload: one for each combination of what its sweeps vary.
//!
//! A step is the file again, with other values in a few places: what a key may be is checked as if
//! the file had said it.

use toml::{Table, Value};

use crate::failure::Failure;
use crate::workload::Extent;
use crate::workload::form::{Form, Sweep};
use crate::workload::rate::Rate;

/// Of a workload without sweeps, and of a curve beside which there is none.
pub(crate) const ONLY: &str = "only";

#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Values of the sweeps: `1KiB-5000`.
    pub(crate) key: String,
    pub(crate) title: String,
    /// The same of all steps that differ in nothing but a rate.
    pub(crate) curve: String,
    /// The file as it is for this step.
    pub(crate) form: Form,
}

impl Step {
    /// The same for one more attempt.
    pub(crate) fn again(&self, nth: u32) -> Self {
        Self { key: format!("{}-again-{nth}", self.key), ..self.clone() }
    }
}

/// A step whose sweeps have not all been gone through.
#[derive(Clone)]
struct Branch {
    table: Table,
    keys: Vec<String>,
    titles: Vec<String>,
    curves: Vec<String>,
}

pub(crate) fn all(table: &Table, form: &Form, extent: Extent) -> Result<Vec<Step>, Failure> {
    let (keys, titles, curves) = (Vec::new(), Vec::new(), Vec::new());
    let mut branches = vec![Branch { table: table.clone(), keys, titles, curves }];
    for sweep in &form.sweeps {
        let values = sweep.values(extent);
        let grown =
            branches.iter().flat_map(|branch| values.iter().map(|it| branch.with(sweep, it)));
        branches = grown.collect::<Result<_, _>>()?;
    }
    branches.into_iter().map(Branch::finish).collect()
}

impl Sweep {
    fn values(&self, extent: Extent) -> &[Value] {
        let chosen = match extent {
            Extent::Smoke => &self.smoke,
            Extent::Full => &None,
            Extent::Lab => &self.lab,
        };
        chosen.as_ref().unwrap_or(&self.values)
    }
}

impl Branch {
    fn with(&self, sweep: &Sweep, value: &Value) -> Result<Self, Failure> {
        let mut branch = self.clone();
        let field = branch.place(&sweep.of, value).ok_or_else(|| {
            let of = &sweep.of;
            Failure::new(format!("sweep of `{of}`: write SECTION.NAME.KEY of what the file has"))
        })?;
        let (key, title) = words(&field, value);
        if field != "rate" {
            branch.curves.push(key.clone());
        }
        branch.keys.push(key);
        branch.titles.push(title);
        Ok(branch)
    }

    /// Sets the value; the name of the key that has it. `None` if there is no such place.
    fn place(&mut self, of: &str, value: &Value) -> Option<String> {
        let mut words = of.splitn(3, '.');
        let (section, name, key) = (words.next()?, words.next()?, words.next()?);
        let entries = self.table.get_mut(section)?.as_array_mut()?.iter_mut();
        let mut tables = entries.filter_map(Value::as_table_mut);
        let entry = tables.find(|it| it.get("name").and_then(Value::as_str) == Some(name))?;
        entry.insert(key.to_owned(), value.clone());
        Some(key.to_owned())
    }

    fn finish(self) -> Result<Step, Failure> {
        let form: Form = self
            .table
            .try_into()
            .map_err(|error| Failure::new(format!("step {}: {error}", self.keys.join("-"))))?;
        let or = |words: Vec<String>, separator, otherwise: &str| match words.as_slice() {
            [] => otherwise.to_owned(),
            words => words.join(separator),
        };
        Ok(Step {
            key: or(self.keys, "-", ONLY),
            title: or(self.titles, ", ", &form.title),
            curve: or(self.curves, "-", ONLY),
            form,
        })
    }
}

/// A value as part of a step's key, and of its title.
fn words(field: &str, value: &Value) -> (String, String) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => format!("{value:?}"),
    };
    let short = text.replace(" of ", "-").replace("/s", "").replace(' ', "");
    match field {
        "rate" => match Rate::parse(&text) {
            Some(Rate::Records(_)) => (short, format!("{text}/s")),
            _ => (short, text),
        },
        "record_bytes" => {
            let size = sized(&text);
            (size.replace(' ', ""), format!("records of {size}"))
        }
        "batch_bytes" => {
            let size = sized(&text);
            (size.replace(' ', ""), format!("batches of {size}"))
        }
        "acks" => (short, format!("acks={text}")),
        "partitions" => (short, counted(&text, "partition")),
        "count" => (short, counted(&text, "reader")),
        _ => (short, format!("{field} {text}")),
    }
}

/// `1 reader`, `4 readers`.
fn counted(count: &str, noun: &str) -> String {
    if count == "1" { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// `1 KiB` of 1024, `100 B` of 100.
fn sized(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(bytes) if 0 < bytes && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{text} B"),
    }
}
