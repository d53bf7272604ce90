//! Tidiness: the rules of the house that a compiler does not check.
//!
//! Each test reads the files of the repository and names every violation at once.
//! The rules stand in `ARCHITECTURE.md` and `docs/style.md`; what can be read from there is read from
//! there, so that text and test cannot drift apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a source file, its unit tests aside.
const FILE_LINES: usize = 400;

/// The most lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES: usize = 60;

/// The crate that may hold `unsafe`.
const UNSAFE_ROOM: &str = "crates/socketserver-sys/";

/// The edges that the design forbids, whatever the table of rooms says.
const NEVER: &[(&str, &[&str])] = &[
    (
        "engine",
        &["transport", "request", "handler", "hooks", "server"],
    ),
    ("transport", &["engine", "handler", "server"]),
    ("request", &["engine", "handler", "server"]),
    ("broadcast", &["engine", "server"]),
    ("codec", &["transport", "request", "engine", "server"]),
];

/// The public names of Python's `socketserver`: its classes, and what can be set, called, overridden
/// or read on them.
const PYTHON_NAMES: &str = "
    BaseServer TCPServer UDPServer UnixStreamServer UnixDatagramServer
    ForkingMixIn ThreadingMixIn
    ForkingTCPServer ForkingUDPServer ForkingUnixStreamServer ForkingUnixDatagramServer
    ThreadingTCPServer ThreadingUDPServer ThreadingUnixStreamServer ThreadingUnixDatagramServer
    BaseRequestHandler StreamRequestHandler DatagramRequestHandler
    timeout address_family socket_type request_queue_size allow_reuse_address allow_reuse_port
    max_packet_size daemon_threads block_on_close max_children active_children
    server_address RequestHandlerClass socket
    bind_and_activate serve_forever poll_interval shutdown handle_request fileno server_close
    __enter__ __exit__
    server_bind server_activate get_request verify_request process_request process_request_thread
    finish_request shutdown_request close_request handle_error handle_timeout service_actions
    collect_children
    setup handle finish request client_address server
    rbufsize wbufsize StreamRequestHandler.timeout disable_nagle_algorithm connection rfile wfile
    packet DatagramRequestHandler.socket DatagramRequestHandler.rfile DatagramRequestHandler.wfile
";

#[test]
fn a_room_imports_only_what_its_row_in_architecture_md_allows() {
    let rooms = Rooms::read();
    let sources = repository().join("crates/socketserver/src");
    let names = Reexports::of(&code(&read(&sources.join("lib.rs"))));
    let mut violations = Vec::new();
    for file in rust_files(&sources) {
        let Some(room) = room_of(&file, &sources) else {
            continue;
        };
        let Some(allowed) = rooms.may_import.get(&room) else {
            violations.push(format!("{}: the room {room} has no row", shown(&file)));
            continue;
        };
        let text = code(without_tests(&read(&file)));
        if file.parent() == Some(&sources) && contains_word(&text, "super") {
            violations.push(format!(
                "{}: write crate:: instead of super::",
                shown(&file)
            ));
        }
        for (line, name) in crate_paths(&text) {
            match names.room(&name, &rooms) {
                Some(other) if other == room || allowed.contains(&other) => {}
                Some(other) => violations.push(format!(
                    "{}:{line}: {room} imports {other} (crate::{name})",
                    shown(&file)
                )),
                None => violations.push(format!(
                    "{}:{line}: of which room is crate::{name}?",
                    shown(&file)
                )),
            }
        }
    }
    report("edges that the table of rooms does not have", &violations);
}

#[test]
fn the_table_of_rooms_names_every_room_and_runs_only_downwards() {
    let rooms = Rooms::read();
    let sources = repository().join("crates/socketserver/src");
    let mut violations = Vec::new();
    for file in rust_files(&sources) {
        if let Some(room) = room_of(&file, &sources)
            && !rooms.may_import.contains_key(&room)
        {
            violations.push(format!("{}: the room {room} has no row", shown(&file)));
        }
    }
    for (at, room) in rooms.order.iter().enumerate() {
        if !sources.join(format!("{room}.rs")).is_file() {
            violations.push(format!("the row {room} has no file"));
        }
        for other in &rooms.may_import[room] {
            if !rooms.order[..at].contains(other) {
                violations.push(format!("{room} may import {other}, which is not above it"));
            }
        }
    }
    for (room, others) in NEVER {
        let allowed = rooms.may_import.get(*room);
        for other in *others {
            if allowed.is_none_or(|allowed| allowed.contains(*other)) {
                violations.push(format!("{room} must never import {other}"));
            }
        }
    }
    report("the table of rooms in ARCHITECTURE.md", &violations);
}

#[test]
fn no_file_is_longer_than_400_lines_and_no_function_longer_than_60() {
    let mut violations = Vec::new();
    for folder in folders_of_crates() {
        for file in rust_files(&folder.join("src")) {
            let text = read(&file);
            let body = without_tests(&text);
            let lines = body.lines().count();
            if lines > FILE_LINES {
                violations.push(format!("{}: {lines} lines", shown(&file)));
            }
            let too_long = functions(&code(body))
                .into_iter()
                .filter(|function| function.lines > FUNCTION_LINES);
            violations.extend(too_long.map(|function| {
                let Function { name, line, lines } = function;
                format!("{}:{line}: {name} has {lines} lines", shown(&file))
            }));
        }
    }
    report("files and functions that are too long", &violations);
}

#[test]
fn unsafe_code_stands_in_its_room_only_and_says_why_it_is_sound() {
    let mut violations = Vec::new();
    for file in rust_files_of_all_crates() {
        let (text, name) = (read(&file), shown(&file));
        let code = code(&text);
        if name.starts_with(UNSAFE_ROOM) {
            let lines = unexplained_unsafe(&text, &code);
            violations.extend(
                lines
                    .iter()
                    .map(|line| format!("{name}:{line}: no // SAFETY: comment")),
            );
            continue;
        }
        let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
        if is_root && !code.contains("#![forbid(unsafe_code)]") {
            violations.push(format!("{name}: no #![forbid(unsafe_code)]"));
        }
        for (number, line) in code.lines().enumerate() {
            if contains_word(line, "unsafe") {
                violations.push(format!("{name}:{}: unsafe code", number + 1));
            }
        }
    }
    report("unsafe code", &violations);
}

#[test]
fn the_library_prints_nothing_and_reads_no_environment() {
    let forbidden = [
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "todo!",
        "unimplemented!",
        "env::var",
        "env::var_os",
        "env::vars",
    ];
    let mut violations = Vec::new();
    for folder in ["crates/socketserver/src", "crates/socketserver-sys/src"] {
        for file in rust_files(&repository().join(folder)) {
            let text = read(&file);
            for (number, line) in code(without_tests(&text)).lines().enumerate() {
                let words = forbidden.iter().filter(|word| contains_word(line, word));
                violations
                    .extend(words.map(|word| format!("{}:{}: {word}", shown(&file), number + 1)));
            }
        }
    }
    report("what the library does not do", &violations);
}

#[test]
fn every_module_is_named_for_what_it_holds() {
    let forbidden = [
        "common", "helper", "helpers", "manager", "misc", "mod", "prelude", "util", "utils",
    ];
    let mut violations = Vec::new();
    for file in rust_files_of_all_crates() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        if forbidden.contains(&&*stem) {
            violations.push(shown(&file));
        }
        for (number, line) in code(&read(&file)).lines().enumerate() {
            let named = line
                .trim_start()
                .trim_start_matches("pub ")
                .strip_prefix("mod ");
            let named = named.map(|rest| rest.trim_end_matches([' ', '{', '}', ';']));
            if named.is_some_and(|name| forbidden.contains(&name)) {
                violations.push(format!("{}:{}: {line}", shown(&file), number + 1));
            }
        }
    }
    report("names that say nothing", &violations);
}

#[test]
fn the_version_of_the_workspace_stands_in_the_changelog() {
    let version = entries(&read(&repository().join("Cargo.toml")), "workspace.package")
        .into_iter()
        .find_map(|(key, value)| (key == "version").then(|| value.trim_matches('"').to_owned()))
        .expect("the workspace has a version");
    let heading = format!("## [{version}]");
    let changelog = read(&repository().join("CHANGELOG.md"));
    assert!(
        changelog.lines().any(|line| line.starts_with(&heading)),
        "CHANGELOG.md has no heading '{heading}'"
    );
}

#[test]
fn every_dependency_has_a_line_in_architecture_md_that_says_why() {
    let table = rows(&read(&repository().join("ARCHITECTURE.md")), "dependency");
    let explained: BTreeSet<String> = table.iter().filter_map(|row| name_in(&row[0])).collect();
    let (mut used, mut own) = (BTreeSet::new(), BTreeSet::new());
    for folder in folders_of_crates() {
        let manifest = read(&folder.join("Cargo.toml"));
        let package = entries(&manifest, "package").into_iter();
        own.extend(
            package
                .filter(|(key, _)| key == "name")
                .map(|(_, value)| value.trim_matches('"').to_owned()),
        );
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            used.extend(entries(&manifest, section).into_iter().map(|(key, _)| key));
        }
    }
    let used: BTreeSet<String> = used.difference(&own).cloned().collect();
    let mut violations = Vec::new();
    violations.extend(
        used.difference(&explained)
            .map(|name| format!("{name} has no line")),
    );
    violations.extend(
        explained
            .difference(&used)
            .map(|name| format!("{name} is not used")),
    );
    let unreasoned = table
        .iter()
        .filter(|row| row.last().is_none_or(|why| why.len() < 10));
    violations.extend(unreasoned.map(|row| format!("{} has no reason", row[0])));
    report("dependencies in ARCHITECTURE.md", &violations);
}

#[test]
fn the_names_in_the_glossary_exist_in_the_code() {
    let sources = repository().join("crates/socketserver/src");
    let text: String = rust_files(&sources)
        .iter()
        .map(|file| code(&read(file)))
        .collect();
    let table = rows(&read(&repository().join("docs/glossary.md")), "term");
    assert!(!table.is_empty(), "docs/glossary.md has no table");
    let mut violations = Vec::new();
    for row in table {
        let in_code = row.last().map(String::as_str).unwrap_or_default();
        for name in in_code.split('`').skip(1).step_by(2) {
            let words = name.split(|c| !is_word(c)).filter(|word| !word.is_empty());
            let unknown = words.filter(|word| !contains_word(&text, word));
            violations.extend(unknown.map(|word| format!("{}: there is no {word}", row[0])));
        }
    }
    report("docs/glossary.md", &violations);
}

#[test]
fn every_public_name_of_pythons_module_has_a_row() {
    let page = read(&repository().join("docs/guide/11-coming-from-python.md"));
    let named: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let missing: Vec<String> = PYTHON_NAMES
        .split_whitespace()
        .filter(|name| !named.contains(name))
        .map(|name| format!("{name} has no row"))
        .collect();
    report("docs/guide/11-coming-from-python.md", &missing);
}

#[test]
fn the_guide_names_every_limit_reason_event_hook_and_option() {
    let sources = repository().join("crates/socketserver/src");
    let of = |file: &str, begin: &str| items(&code(&read(&sources.join(file))), begin);
    let arguments = read(&repository().join("apps/cli/src/arguments.rs"));
    let mut options = Vec::new();
    for arguments_of in ["Serve", "Bound", "Log", "Echo", "Chat", "Join"] {
        let begin = format!("struct {arguments_of}Arguments");
        let fields = items(&code(&arguments), &begin);
        let flattened = ["serve", "bounds", "log", "endpoint"];
        let named = fields
            .iter()
            .filter(|name| !flattened.contains(&name.as_str()));
        options.extend(named.map(|name| format!("--{}", name.replace('_', "-"))));
    }
    let pages = [
        (
            "07-limits-and-timeouts.md",
            of("limits.rs", "struct Limits"),
        ),
        (
            "07-limits-and-timeouts.md",
            of("telemetry.rs", "enum EndReason"),
        ),
        ("09-hooks-and-events.md", of("telemetry.rs", "enum Event")),
        ("09-hooks-and-events.md", of("hooks.rs", "trait Hooks")),
        (
            "08-shutdown.md",
            of("live/registry.rs", "struct DrainReport"),
        ),
        ("08-shutdown.md", of("server.rs", "enum Handled")),
        (
            "06-many-to-many.md",
            of("outbox/overflow.rs", "enum Overflow"),
        ),
        ("12-the-command.md", options),
    ];
    let mut violations = Vec::new();
    for (page, names) in pages {
        assert!(!names.is_empty(), "{page}: nothing was found in the code");
        let text = read(&repository().join("docs/guide").join(page));
        let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
        let is_named = |name: &str| quoted.iter().any(|quoted| contains_word(quoted, name));
        let missing = names.iter().filter(|name| !is_named(name));
        violations.extend(missing.map(|name| format!("{page} does not name {name}")));
    }
    report("docs/guide", &violations);
}

#[test]
fn every_page_of_the_guide_is_listed_and_its_code_is_run() {
    let guide = repository().join("docs/guide");
    let index = read(&guide.join("README.md"));
    let tested = read(&repository().join("crates/socketserver/src/guide.rs"));
    let mut violations = Vec::new();
    for page in markdown_files(&guide) {
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        if name != "README.md" && !index.contains(&format!("({name})")) {
            violations.push(format!("{name} is not in the index"));
        }
        if !tested.contains(&format!("docs/guide/{name}")) {
            violations.push(format!("guide.rs does not run the code of {name}"));
        }
        let unrun = ["```rust,ignore", "```ignore", "```rust,compile_fail"];
        violations.extend(
            unrun
                .iter()
                .filter(|fence| read(&page).contains(**fence))
                .map(|fence| format!("{name} has a block {fence}")),
        );
    }
    report("docs/guide", &violations);
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let readme = read(&repository().join("README.md"));
    let example = read(&repository().join("crates/socketserver/examples/echo.rs"));
    let program: Vec<&str> = example
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty())
        .collect();
    let block: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("```rust"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .collect();
    assert_eq!(
        block, program,
        "the first block of README.md is not examples/echo.rs"
    );
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut violations = Vec::new();
    for folder in [
        ".",
        "docs",
        "docs/guide",
        "docs/decisions",
        "docs/benchmarks",
    ] {
        for document in markdown_files(&repository().join(folder)) {
            let text = read(&document);
            let targets = text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', '#']).next());
            for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
                if !document.with_file_name(target).exists() {
                    violations.push(format!("{}: {target}", shown(&document)));
                }
            }
        }
    }
    report("links that lead nowhere", &violations);
}

/// Fails with all violations at once.
fn report(what: &str, violations: &[String]) {
    let list = violations.join("\n  ");
    assert!(violations.is_empty(), "{what}:\n  {list}");
}

/// The table of rooms.
struct Rooms {
    /// As in the table, the lowest first.
    order: Vec<String>,
    may_import: BTreeMap<String, BTreeSet<String>>,
}

impl Rooms {
    fn read() -> Self {
        let rows = rows(&read(&repository().join("ARCHITECTURE.md")), "room");
        assert!(!rows.is_empty(), "ARCHITECTURE.md has no table of rooms");
        let mut rooms = Self {
            order: Vec::new(),
            may_import: BTreeMap::new(),
        };
        for row in rows {
            let room = name_in(&row[0]).expect("a row has the name of a room");
            let others = row[1].split(',').filter_map(name_in).collect();
            rooms.order.push(room.clone());
            rooms.may_import.insert(room, others);
        }
        rooms
    }
}

/// What `lib.rs` re-exports.
#[derive(Default)]
struct Reexports {
    rooms: BTreeMap<String, String>,
    /// The rooms of which everything is re-exported.
    globs: Vec<String>,
}

impl Reexports {
    fn of(lib: &str) -> Self {
        let mut found = Self::default();
        for item in lib.split("pub use ").skip(1) {
            let item = item.split(';').next().unwrap_or_default();
            let Some((room, names)) = item.split_once("::") else {
                continue;
            };
            let names = names.trim_matches(['{', '}']).split(',').map(str::trim);
            for name in names.filter(|name| !name.is_empty()) {
                if name == "*" {
                    found.globs.push(room.to_owned());
                } else {
                    found.rooms.insert(name.to_owned(), room.to_owned());
                }
            }
        }
        found
    }

    /// The room that `crate::name` leads to.
    fn room(&self, name: &str, rooms: &Rooms) -> Option<String> {
        if rooms.may_import.contains_key(name) {
            return Some(name.to_owned());
        }
        match (self.rooms.get(name), &self.globs[..]) {
            (Some(room), _) => Some(room.clone()),
            (None, [glob]) => Some(glob.clone()),
            _ => None,
        }
    }
}

/// The first segments of the paths that begin with `crate::`, and their lines.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, prefix) in text.match_indices("crate::") {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(names_of_group(group).into_iter().map(|name| (line, name))),
            None => found.push((line, first_word(rest))),
        }
    }
    found
}

/// The first segments of the paths in a group, which ends at its closing brace.
fn names_of_group(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut names = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            c if depth == 0 => names.last_mut().expect("there is one").push(c),
            _ => {}
        }
    }
    let firsts = names.iter().map(|name| first_word(name.trim()));
    firsts.filter(|name| !name.is_empty()).collect()
}

/// The room that a file of the library is in; the root of the crate is in none.
fn room_of(file: &Path, sources: &Path) -> Option<String> {
    let inside = file.strip_prefix(sources).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (room != "lib").then(|| room.to_owned())
}

/// A function of a source file.
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// The functions of `text`, which has neither comments nor strings.
fn functions(text: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        let name = first_word(&text[at + 3..]);
        if name.is_empty() || text[..at].ends_with(is_word) {
            continue;
        }
        // The body begins at the first brace outside of parentheses; a semicolon says there is none.
        let mut depth = 0_i32;
        let body = text.as_bytes()[at..].iter().position(|byte| {
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(byte, b'{' | b';')
        });
        let Some(body) = body.map(|body| at + body) else {
            continue;
        };
        let mut depth = 0_i32;
        let length = text.as_bytes()[body..].iter().position(|byte| {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let end = body + length.unwrap_or(0);
        found.push(Function {
            name,
            line: text[..at].matches('\n').count() + 1,
            lines: text[at..=end].lines().count(),
        });
    }
    found
}

/// The names of the fields, variants or methods of the item that begins with `begin`.
fn items(text: &str, begin: &str) -> Vec<String> {
    let Some((_, body)) = text.split_once(begin) else {
        return Vec::new();
    };
    let lines = body
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('}'));
    // rustfmt indents what belongs to the item itself by four columns, and nothing else.
    let own = lines.filter_map(|line| line.strip_prefix("    "));
    let own = own.filter(|line| line.starts_with(|c: char| c.is_alphabetic()));
    let names = own.map(|line| {
        let line = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        first_word(line.trim_start_matches("fn "))
    });
    names.collect()
}

/// The lines with `unsafe` whose statement has no `SAFETY` comment above it.
fn unexplained_unsafe(text: &str, code: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_explained = |number: usize| {
        // A statement may begin a line or two above its `unsafe`.
        let nearest = (number.saturating_sub(3)..number)
            .rev()
            .find(|&above| lines[above].starts_with("//"));
        nearest.is_some_and(|last| {
            let comment = lines[..=last]
                .iter()
                .rev()
                .take_while(|line| line.starts_with("//"));
            comment
                .into_iter()
                .any(|line| line.starts_with("// SAFETY:"))
        })
    };
    code.lines()
        .enumerate()
        .filter(|(number, line)| contains_word(line, "unsafe") && !is_explained(*number))
        .map(|(number, _)| number + 1)
        .collect()
}

/// `text` up to its unit tests.
fn without_tests(text: &str) -> &str {
    let end = text
        .match_indices("#[cfg(test)]")
        .map(|(at, _)| at)
        .find(|&at| at == 0 || text[..at].ends_with('\n'));
    &text[..end.unwrap_or(text.len())]
}

/// `text` with its comments, strings and character literals blanked, line for line.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = at + literal(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            let blank = |&c: &char| if c == '\n' { '\n' } else { ' ' };
            out.extend(chars[at..end].iter().map(blank));
            at = end;
        }
    }
    out
}

/// How long the comment or literal is that begins at `at`; 0 if none does.
fn literal(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let is_prefix = at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b';
    match rest {
        ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => string(rest),
        ['r', '"' | '#', ..] if is_prefix => raw_string(rest),
        ['\'', '\\', _, tail @ ..] => tail
            .iter()
            .position(|&c| c == '\'')
            .map_or(0, |end| end + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at + 1 < rest.len() {
        match rest[at..at + 2] {
            ['/', '*'] => depth += 1,
            ['*', '/'] if depth == 1 => return at + 2,
            ['*', '/'] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[char]) -> usize {
    let marks = rest[1..].iter().take_while(|&&c| c == '#').count();
    let mut closing = vec!['#'; marks + 1];
    closing[0] = '"';
    let begin = 1 + marks;
    if rest.get(begin) != Some(&'"') {
        // A raw identifier, as in `r#type`.
        return 0;
    }
    let length = rest[begin + 1..]
        .windows(closing.len())
        .position(|window| window == closing);
    length.map_or(rest.len(), |length| begin + 1 + length + closing.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|&c| is_word(c)).collect()
}

/// Whether `word` stands in `text`, and not as a part of a longer one.
fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let after = &text[at + word.len()..];
        !text[..at].ends_with(is_word) && !after.starts_with(is_word)
    })
}

/// The cells of the Markdown table whose first heading is `heading`, row by row.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let head = format!("| {heading} |");
    text.lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// The name that a cell begins with, out of its backticks.
fn name_in(cell: impl AsRef<str>) -> Option<String> {
    let cell = cell.as_ref().trim().trim_start_matches('`');
    let is_part = |&c: &char| is_word(c) || c == '-';
    let name: String = cell.chars().take_while(is_part).collect();
    (!name.is_empty()).then_some(name)
}

/// The keys and values of one section of a manifest.
fn entries(manifest: &str, section: &str) -> Vec<(String, String)> {
    let head = format!("[{section}]");
    manifest
        .lines()
        .skip_while(|line| line.trim() != head)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            let key = key.trim().split('.').next().unwrap_or_default();
            (key.to_owned(), value.trim().to_owned())
        })
        .collect()
}

fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize()
        .expect("the repository is two folders up")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

/// The path inside the repository.
fn shown(path: &Path) -> String {
    let inside = path.strip_prefix(repository()).unwrap_or(path);
    inside.display().to_string()
}

/// The folders of the crates, the programs' included.
fn folders_of_crates() -> Vec<PathBuf> {
    let groups = ["crates", "apps"].map(|group| repository().join(group));
    let mut folders: Vec<PathBuf> = groups.iter().flat_map(|group| inside(group)).collect();
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    folders
}

/// The sources, tests and examples of all crates, this file aside: it names what it forbids.
fn rust_files_of_all_crates() -> Vec<PathBuf> {
    let own = repository().join("crates/socketserver/tests/tidy.rs");
    let folders = folders_of_crates();
    let files = folders.iter().flat_map(|folder| rust_files(folder));
    files.filter(|file| *file != own).collect()
}

/// The Rust files in `folder` and below.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in inside(folder) {
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The documents in `folder`, not below it.
fn markdown_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = inside(folder);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}

/// What is in `folder`, sorted; nothing if there is no such folder.
fn inside(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    paths
}
