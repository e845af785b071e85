//! The command's words: which subcommands there are, and the arguments they share.

use std::io;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::report::OutputArguments;
use crate::{config, consume, group, log, overview, produce, quota, serve, topic};

const EXAMPLES: &str = "\
Examples:
  odradek serve --dev                          a broker on 127.0.0.1:9092, data in ./odradek-data
  odradek topic create events -p 4             a topic with four partitions
  echo 'hello' | odradek produce events        one record a line
  odradek consume events -e                    all records, then exit
  odradek group lag my-group --watch           how far a group's readers are behind

Every command explains itself: odradek produce --help";

/// A Kafka-protocol log broker, and the tools to use one.
#[derive(Debug, Parser)]
#[command(name = "odradek", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a broker
    Serve(serve::Arguments),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::Verb),
    /// Write lines from standard input as records
    Produce(produce::Arguments),
    /// Read records and write them to standard output
    Consume(consume::Arguments),
    /// List and describe consumer groups, show their lag, move their offsets, delete them
    #[command(subcommand)]
    Group(group::Verb),
    /// Show brokers, what they hold, and how large it is
    #[command(subcommand)]
    Cluster(overview::Verb),
    /// Show and change configurations, and check a broker's file
    #[command(subcommand)]
    Config(config::Verb),
    /// Show and change how much of a broker clients may use
    #[command(subcommand)]
    Quota(quota::Verb),
    /// Check the files of a broker that does not run
    #[command(subcommand)]
    Log(log::Verb),
    /// Print completions for a shell
    Completion(CompletionArguments),
}

/// Which cluster a command talks to.
#[derive(Args, Debug)]
pub(crate) struct BrokerArguments {
    /// Broker to connect to first; several, separated by commas, are tried in turn
    #[arg(
        short,
        long,
        value_name = "HOST[:PORT]",
        env = "ODRADEK_BROKER",
        default_value = "127.0.0.1:9092"
    )]
    broker: String,
}

/// What every command takes that changes something of a cluster.
#[derive(Args, Debug)]
pub(crate) struct ChangeArguments {
    /// Only check whether it could be done
    #[arg(long)]
    pub(crate) validate_only: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    #[command(flatten)]
    pub(crate) broker: BrokerArguments,
}

impl BrokerArguments {
    pub(crate) fn connect(&self) -> Result<Cluster, Failure> {
        let mut last = None;
        for address in self.broker.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            match Cluster::connect(address) {
                Ok(cluster) => return Ok(cluster),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::usage("--broker names no broker")))
    }
}

const COMPLETION_EXAMPLES: &str = "\
Examples:
  odradek completion bash > /etc/bash_completion.d/odradek
  odradek completion zsh > ~/.zfunc/_odradek
  odradek completion fish > ~/.config/fish/completions/odradek.fish";

#[derive(Args, Debug)]
#[command(after_help = COMPLETION_EXAMPLES)]
struct CompletionArguments {
    #[arg(value_enum)]
    shell: CompletionShell,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command.verb {
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Topic(verb) => topic::run(&verb),
        Verb::Produce(arguments) => produce::run(&arguments),
        Verb::Consume(arguments) => consume::run(&arguments),
        Verb::Group(verb) => group::run(&verb),
        Verb::Cluster(verb) => overview::run(&verb),
        Verb::Config(verb) => config::run(&verb),
        Verb::Quota(verb) => quota::run(&verb),
        Verb::Log(verb) => log::run(&verb),
        Verb::Completion(arguments) => completion(arguments.shell),
    }
}

fn completion(shell: CompletionShell) -> Result<(), Failure> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Command::command(), "odradek", &mut script);
    print(&script)
}

/// Everything that a command says in one piece.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    io::Write::write_all(&mut out, bytes)
        .and_then(|()| io::Write::flush(&mut out))
        .map_err(|error| Failure::output(&error))
}

/// A word beside the answer, on standard error; nobody may read it, and that is no failure.
pub(crate) fn remark(text: &str) {
    match io::Write::write_all(&mut io::stderr(), format!("odradek: {text}\n").as_bytes()) {
        Ok(()) | Err(_) => {}
    }
}

/// `key=value` of a `--config` or `--set`.
pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, assignment};
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn an_assignment_is_cut_at_the_first_equals_sign() {
        assert_eq!(assignment("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(assignment("a="), Ok(("a".to_owned(), String::new())));
        assert!(assignment("a").is_err());
        assert!(assignment("=a").is_err());
    }
}
