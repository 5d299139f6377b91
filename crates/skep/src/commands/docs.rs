//! `skep __docs`: writes the generated reference, or says which part of it is stale.
//!
//! Everything here is printed from the one place where it is a fact: the command tree, the table
//! of keys, the route table, the contract, the schema.

mod columns;
mod sql;

use super::Session;
use crate::cli::{Cli, Docs};
use crate::config;
use crate::engine::VERSION;
use crate::failure::{Exit, Failure};
use clap::{Command, CommandFactory as _};
use std::fmt::Write as _;
use std::path::Path;

/// A file and what is to be in it.
struct Page {
    path: String,
    text: String,
}

/// Variables of the environment that the program reads.
const ENVIRONMENT: [(&str, &str); 5] = [
    (
        "SKEP_HOME",
        "The home, as with `--home`, which goes before it.",
    ),
    (
        crate::logs::LEVEL_VARIABLE,
        "What the log on stderr holds: `error`, `warn` (the default), `info`, `debug`, `trace`, or directives such as `skep_director=debug,warn`.",
    ),
    (
        "NO_COLOR",
        "Any text in it turns colour off, as with `--no-color`.",
    ),
    (
        "XDG_DATA_HOME",
        "Where the default home lies, on Linux: the folder `skep` in it.",
    ),
    (
        skep_stdx::crash::CRASH_VARIABLE,
        "For tests: the process dies at a named point, as if by `kill -9`.",
    ),
];

/// Writes or checks every page.
pub(crate) fn docs(session: &Session, arguments: &Docs) -> Result<Exit, Failure> {
    if !arguments.root.join("crates/skep/Cargo.toml").is_file() {
        return Err(Failure::usage(
            "root_not_found",
            format!(
                "{} is not the root of Skep's repository",
                arguments.root.display()
            ),
            "call it there, or name it with `--root`",
        ));
    }
    let mut stale = Vec::new();
    for page in pages(&arguments.root)? {
        let path = arguments.root.join(&page.path);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == page.text) {
            continue;
        }
        if !arguments.check {
            write(&path, &page.text)?;
        }
        stale.push(page.path);
    }
    if session.printer.json() {
        let document =
            serde_json::json!({ "ok": stale.is_empty() || !arguments.check, "stale": stale });
        session.printer.document(&document)?;
    } else {
        let verb = if arguments.check { "stale" } else { "wrote" };
        for path in &stale {
            session.printer.line(&format!("{verb} {path}"))?;
        }
    }
    if arguments.check && !stale.is_empty() {
        session
            .printer
            .note("write them with `cargo run -- __docs`");
        return Ok(Exit::Unsuccessful);
    }
    Ok(Exit::Done)
}

fn pages(root: &Path) -> Result<Vec<Page>, Failure> {
    let page = |path: &str, text: String| Page {
        path: path.to_owned(),
        text,
    };
    let mut pages = vec![
        page("docs/reference/cli.md", command_line()),
        page("docs/reference/config.md", config::reference()),
        page("docs/reference/sql.md", sql::reference(root)?),
        page("skep.example.toml", config::example()),
        page("openapi/skep.json", pretty(&skep_api::openapi(VERSION))?),
        page(
            "docs/reference/result-contract.schema.json",
            pretty(&skep_types::ResultContract::json_schema())?,
        ),
    ];
    man_pages(&tree(), "skep", &mut pages)?;
    Ok(pages)
}

/// The command tree as it is documented: without what is hidden.
fn tree() -> Command {
    let mut tree = Cli::command();
    tree.build();
    tree
}

fn pretty(document: &serde_json::Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document).map_err(std::io::Error::from)?;
    Ok(format!("{text}\n"))
}

fn command_line() -> String {
    let mut text = "\
# Command line

Data goes to stdout, everything else to stderr. With `--json` a command prints one JSON document,
a stream prints JSON lines, and an error prints `{\"error\":{\"code\",\"message\",\"hint\"}}`, all on
stdout.

| Exit code | Meaning |
|---|---|
| 0 | done, and the work succeeded |
| 1 | the command ran and the work did not succeed |
| 2 | usage or configuration: nothing was changed |
| 3 | refused by policy |
| 4 | not found |
| 5 | the server, or a part it needs, cannot be reached |
| 130, 143 | `skep up` was stopped by Ctrl-C or SIGTERM |

## Environment

| Variable | Meaning |
|---|---|
"
    .to_owned();
    for (name, about) in ENVIRONMENT {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {about} |");
    }
    describe(&mut text, &mut tree(), "skep");
    text
}

fn describe(text: &mut String, command: &mut Command, path: &str) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n## `{path}`\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    );
    for subcommand in command
        .get_subcommands_mut()
        .filter(|command| !command.is_hide_set())
    {
        let path = format!("{path} {}", subcommand.get_name());
        describe(text, subcommand, &path);
    }
}

fn man_pages(command: &Command, name: &str, pages: &mut Vec<Page>) -> Result<(), Failure> {
    let mut rendered = Vec::new();
    // The date would make every build another page; the version is what matters.
    let titled = command.clone().name(name.to_owned());
    clap_mangen::Man::new(titled)
        .date("")
        .render(&mut rendered)?;
    let text = String::from_utf8_lossy(&rendered);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    pages.push(Page {
        path: format!("docs/man/{name}.1"),
        text: format!("{}\n", lines.join("\n")),
    });
    for subcommand in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        man_pages(
            subcommand,
            &format!("{name}-{}", subcommand.get_name()),
            pages,
        )?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text));
    written.map_err(|error| {
        Failure::usage(
            "output_unwritable",
            format!("the file {} cannot be written: {error}", path.display()),
            "call it in a repository that this user can write",
        )
    })
}
