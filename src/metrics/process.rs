//! What the system says of this process, under the names that Prometheus has for it
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). Read when somebody asks; what the system does
//! not tell is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Asks /proc.
#[derive(Debug)]
pub(super) struct Process;

/// What `/proc/self/stat` tells; `proc_pid_stat(5)`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Since the machine started.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name, in which anything may stand; what follows is numbers.
        let (_name, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of them is the third of the manual.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

/// When the machine started, in seconds since 1970.
fn boot_secs() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files() -> Option<u64> {
    // One of them is the folder itself.
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

#[expect(clippy::cast_precision_loss, reason = "times and sizes of a process are far below 2^53")]
const fn float(number: u64) -> f64 {
    number as f64
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
            }
            None => Ok(()),
        };
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        gauge("process_open_fds", "Open file descriptors", None, open_files().map(float))?;
        gauge("process_max_fds", "File descriptors that may be open", None, limit.map(float))?;
        let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) else {
            return Ok(());
        };
        let ticks = float(rustix::param::clock_ticks_per_second());
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
        let resident = float(stat.resident_pages.saturating_mul(page));
        gauge("process_threads", "Threads", None, Some(float(stat.threads)))?;
        gauge("process_resident_memory", "Memory that is in use", Some(&Unit::Bytes), Some(resident))?;
        gauge(
            "process_virtual_memory",
            "Memory that is addressed",
            Some(&Unit::Bytes),
            Some(float(stat.virtual_bytes)),
        )?;
        let started = boot_secs().map(|boot| float(boot) + float(stat.start_ticks) / ticks);
        gauge("process_start_time", "When it started, since 1970", Some(&Unit::Seconds), started)?;
        let cpu = ConstCounter::new(float(stat.cpu_ticks) / ticks);
        let unit = Some(&Unit::Seconds);
        cpu.encode(encoder.encode_descriptor("process_cpu", "Time on a core", unit, cpu.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_name_full_of_brackets_moves_no_field() {
        let text = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 110 7 0 0 20 0 3 0 9000 1048576 512 18446744073709551615 1\n";
        let expected =
            Stat { cpu_ticks: 117, threads: 3, start_ticks: 9_000, virtual_bytes: 1_048_576, resident_pages: 512 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (a"), None);
        assert_eq!(Stat::parse("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_told_of() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let told = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            told.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
        };
        assert!(value("process_threads") >= 2.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        #[expect(clippy::disallowed_methods, reason = "a test of what the system says of time")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-1.0..86_400.0).contains(&age), "{age}");
    }
}
