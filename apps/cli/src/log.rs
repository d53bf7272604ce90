//! The log on standard error, in the shape that Python's original gives it:
//! `2026-11-23 11:35:29,550 127.0.0.1:57890 hello`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::ZonedDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::arguments::{LogArguments, LogFormat};

/// Characters of a message that are logged.
const LONGEST: usize = 1000;

/// Where log lines go: standard error, or a console that draws its prompt again below them.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Option<Redraw>>>);

/// Prints a text above the line that is being typed.
pub(crate) type Redraw = Box<dyn FnMut(String) + Send>;

impl Sink {
    /// Sends log lines to `redraw` from now on.
    pub(crate) fn redirect(&self, redraw: Option<Redraw>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = redraw;
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(redraw) => {
                redraw(String::from_utf8_lossy(line).into_owned());
                Ok(line.len())
            }
            // A line is written in one piece, so that lines of two threads do not mix.
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Begins to log, and tells where to.
pub(crate) fn start(arguments: &LogArguments) -> Sink {
    let level = match (arguments.quiet, arguments.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, true) => LevelFilter::DEBUG,
        _ => LevelFilter::INFO,
    };
    let sink = Sink::default();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(sink.clone());
    // Only this program sets a subscriber, and only here, so it cannot have been set before.
    let _ = match arguments.log_format {
        LogFormat::Json => tracing::subscriber::set_global_default(
            builder
                .json()
                .with_current_span(false)
                .with_span_list(false)
                .finish(),
        ),
        LogFormat::Text => {
            tracing::subscriber::set_global_default(builder.event_format(Text).finish())
        }
    };
    sink
}

/// The format of the original.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = ZonedDateTime::now();
        write!(
            writer,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03} ",
            now.year(),
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.millisecond(),
        )?;
        match *event.metadata().level() {
            Level::ERROR => writer.write_str("error: ")?,
            Level::WARN => writer.write_str("warning: ")?,
            _ => {}
        }
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{}{}", line.message, line.fields)
    }
}

/// The message of an event, and what else it says.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_message = field.name() == "message";
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = if is_message {
            write!(text, "{value:?}")
        } else {
            write!(text, " {}={value:?}", field.name())
        };
        let target = if is_message {
            &mut self.message
        } else {
            &mut self.fields
        };
        // Whatever a peer has managed to get in here, it draws nothing on the operator's terminal, and
        // does not fill the disk faster than it can send.
        for c in text.chars().take(LONGEST) {
            if c.is_control() {
                target.extend(c.escape_debug());
            } else {
                target.push(c);
            }
        }
        if text.chars().nth(LONGEST).is_some() {
            let _ = write!(target, "… ({} bytes)", text.len());
        }
    }
}
