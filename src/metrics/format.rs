//! The two text formats of Prometheus.

use std::collections::BTreeSet;

/// How the numbers are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>, which every tool reads.
    Plain,
}

impl Format {
    /// What a scraper asks for in `Accept`. One that does not name `OpenMetrics` 1.0 may not know it.
    pub fn accepted(accept: &str) -> Self {
        let names_it = accept.split(',').map(str::trim).any(|form| {
            let mut parts = form.split(';').map(str::trim);
            parts.next() == Some("application/openmetrics-text") && parts.any(|part| part == "version=1.0.0")
        });
        if names_it { Self::OpenMetrics } else { Self::Plain }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The older format: there a counter's own name ends in `_total`, and units and the end are not spoken of.
pub(super) fn plain(text: &str) -> String {
    let counters: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|start| {
            let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
            counters.contains(name).then_some((start, name, rest))
        });
        match described {
            Some((start, name, rest)) => plain.extend([start, name, "_total ", rest]),
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn who_does_not_ask_for_the_newer_format_gets_the_older_one() {
        for (accept, format) in [
            ("", Format::Plain),
            ("*/*", Format::Plain),
            ("text/plain;version=0.0.4;q=0.5", Format::Plain),
            ("application/openmetrics-text;version=0.0.1", Format::Plain),
            (
                "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain, application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
        let metrics = Metrics::new();
        metrics.counter("lost", "What was lost", || 7);
        let text = metrics.text(Format::Plain);
        assert!(text.contains(
            "# HELP postern_lost_total What was lost\n# TYPE postern_lost_total counter\npostern_lost_total 7\n"
        ));
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }
}
