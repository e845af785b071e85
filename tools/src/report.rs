//! What a command says at its end: a line for each thing that it worked on, or JSON.
//!
//! It knows nothing of what the things are. Failures go to standard error, results to standard output.

use clap::Args;
use serde_json::{Value, json};

use crate::command::print;
use crate::failure::Failure;
use crate::table::printable;

#[derive(Args, Debug)]
pub(crate) struct OutputArguments {
    /// JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What became of each thing that was named; some may have failed while others worked.
pub(crate) struct Report {
    pub(crate) rows: Vec<(String, Result<String, String>)>,
}

impl Report {
    /// Results on standard output, and the failures as the command's own failure.
    pub(crate) fn finish(self, output: &OutputArguments) -> Result<(), Failure> {
        let mut text = String::new();
        if output.json {
            let rows: Vec<Value> = self
                .rows
                .iter()
                .map(|(name, result)| match result {
                    Ok(done) => json!({ "name": name, "result": done }),
                    Err(error) => json!({ "name": name, "error": error }),
                })
                .collect();
            text = format!("{:#}\n", Value::Array(rows));
        } else {
            for (name, result) in &self.rows {
                if let Ok(done) = result {
                    text.push_str(&format!("{}: {}\n", printable(name), printable(done)));
                }
            }
        }
        print(text.as_bytes())?;
        let errors: Vec<String> = self
            .rows
            .into_iter()
            .filter_map(|(name, result)| {
                result.err().map(|error| printable(&format!("{name}: {error}")))
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(Failure::Failed(errors.join("\nodradek: "))) }
    }
}
