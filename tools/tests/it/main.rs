//! The command as a shell sees it: arguments, exit codes, and what it says. No broker runs.

mod arguments;
mod configuration;
mod run;
