//! `docs/configuration.md`, written from `config/default.toml`.

use super::defaults::{Mark, SYNONYMS, Section, notes, sections};
use super::layers::{ALIASES, FILE_VARIABLE};
use std::fmt::Write;

/// The whole page, in Markdown.
pub fn document() -> String {
    let mut page = String::from("# Configuration\n\n");
    page.push_str(
        "<!-- Written by `pannier config --docs` from config/default.toml: change it there. -->\n\n",
    );
    page.push_str(LAYERS);
    write_aliases(&mut page);
    page.push_str("\n## How values are written\n\n");
    for line in notes() {
        page.push_str(line);
        page.push('\n');
    }
    for section in sections() {
        write_section(&mut page, section);
    }
    page
}

const LAYERS: &str = r#"Settings are read from four places. Each wins over those before it:

1. the defaults below (`config/default.toml`, compiled in; `pannier config --default` prints it);
2. a TOML file: `--config FILE`, else the one that `PANNIER_CONFIG` names;
3. the environment: `PANNIER__SECTION__KEY`, such as `PANNIER__MEMORY__CAPACITY=1GiB`. Lists and tables are
   written in TOML: `PANNIER__AUTH__KEYS='[{ name = "alice", key = "..." }]'`;
4. the command line: `--listen`, `--admin-listen`, `--upstream`, `--data-dir`.

An unknown name or a value that does not fit is an error that says where it stands and what was perhaps
meant. `pannier check` looks for them all; `pannier config` shows each value that is in force and where it
came from.

"#;

fn write_aliases(page: &mut String) {
    page.push_str("These names are understood too; `PANNIER__…` wins where both are set, and an empty one is as none.\n\n");
    page.push_str("| variable | stands for |\n|---|---|\n");
    let _ = writeln!(page, "| `{FILE_VARIABLE}` | `--config` |");
    for (name, path) in ALIASES {
        let _ = writeln!(page, "| `{name}` | `{path}` |");
    }
    for (synonym, path) in SYNONYMS {
        let _ = writeln!(page, "\n`{synonym}` is another name of `{path}`, in files and in the environment.");
    }
}

fn write_section(page: &mut String, section: &Section) {
    let mark = words(section.mark);
    let Section { name, title, .. } = section;
    let _ = write!(page, "\n## `[{name}]`: {title}\n\n{mark}\n\n");
    page.push_str("| key | default | meaning |\n|---|---|---|\n");
    for key in &section.keys {
        let about = key.about.replace('|', "\\|").replace('<', "&lt;");
        let own = if key.mark == section.mark { String::new() } else { format!(" {}", words(key.mark)) };
        let _ = writeln!(page, "| `{}` | `{}` | {}{own} |", key.name, key.default, escape_stars(&about));
    }
}

fn words(mark: Mark) -> &'static str {
    match mark {
        Mark::Boot => "Takes effect at the next start.",
        Mark::Live => "Can change while Pannier runs.",
    }
}

/// Markdown would read a pair of stars as emphasis.
fn escape_stars(text: &str) -> String {
    text.replace('*', "\\*")
}
