//! The pages that a reader meets first, as documentation tests: their code compiles and runs.

/// Makes a documentation test of each page.
macro_rules! pages {
    ($($name:ident: $path:literal;)*) => {$(
        #[doc = include_str!(concat!("../../../", $path))]
        struct $name;
    )*};
}

pages! {
    Readme: "README.md";
    GuideIndex: "docs/guide/README.md";
    Guide01: "docs/guide/01-echo.md";
    Guide02: "docs/guide/02-choosing-an-engine.md";
    Guide03: "docs/guide/03-datagrams.md";
    Guide04: "docs/guide/04-lines-and-messages.md";
    Guide05: "docs/guide/05-many-to-many.md";
    Guide06: "docs/guide/06-limits-and-timeouts.md";
    Guide07: "docs/guide/07-shutdown.md";
    Guide08: "docs/guide/08-hooks-and-events.md";
    Guide09: "docs/guide/09-testing.md";
    Guide10: "docs/guide/10-coming-from-python.md";
    Guide11: "docs/guide/11-the-command.md";
}
