//! The command as a lab uses it: files go in, files come out, and a browser opens them.

mod browser;
mod made;
mod peers;
mod report;
