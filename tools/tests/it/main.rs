//! The command as a shell sees it: arguments, exit codes, what it says, and a broker that it runs.

mod arguments;
mod broker;
mod configuration;
mod damage;
mod groups;
mod log;
mod member;
mod quotas;
mod run;
mod serve;
