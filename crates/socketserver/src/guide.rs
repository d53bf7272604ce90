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
    Guide05: "docs/guide/05-message-handlers.md";
    Guide06: "docs/guide/06-many-to-many.md";
    Guide07: "docs/guide/07-limits-and-timeouts.md";
    Guide08: "docs/guide/08-shutdown.md";
    Guide09: "docs/guide/09-hooks-and-events.md";
    Guide10: "docs/guide/10-testing.md";
    Guide11: "docs/guide/11-coming-from-python.md";
    Guide12: "docs/guide/12-the-command.md";
}
