//! Numbers that other rooms keep, and that are read when somebody asks for all.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// A number that somebody else keeps.
pub(super) struct Elsewhere {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) read: Read,
}

pub(super) enum Read {
    Gauge(Box<dyn Fn() -> i64 + Send + Sync>),
    Counter(Box<dyn Fn() -> u64 + Send + Sync>),
    Gauges(&'static str, Box<dyn Fn() -> Vec<(&'static str, i64)> + Send + Sync>),
    Counters(&'static str, Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>),
    Seconds(Box<dyn Fn() -> Option<f64> + Send + Sync>),
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for Elsewhere {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self { name, help, read } = self;
        let (unit, metric_type) = match read {
            Read::Gauge(_) | Read::Gauges(..) => (None, MetricType::Gauge),
            Read::Counter(_) | Read::Counters(..) => (None, MetricType::Counter),
            Read::Seconds(_) => (Some(&Unit::Seconds), MetricType::Gauge),
        };
        match read {
            Read::Gauge(read) => {
                ConstGauge::new(read()).encode(encoder.encode_descriptor(name, help, unit, metric_type)?)
            }
            Read::Counter(read) => {
                ConstCounter::new(read()).encode(encoder.encode_descriptor(name, help, unit, metric_type)?)
            }
            Read::Gauges(label, read) => {
                let mut family = encoder.encode_descriptor(name, help, unit, metric_type)?;
                let mut all = read().into_iter();
                all.try_for_each(|(value, count)| {
                    ConstGauge::new(count).encode(family.encode_family(&[(*label, value)])?)
                })
            }
            Read::Counters(label, read) => {
                let mut family = encoder.encode_descriptor(name, help, unit, metric_type)?;
                let mut all = read().into_iter();
                all.try_for_each(|(value, count)| {
                    ConstCounter::new(count).encode(family.encode_family(&[(*label, value)])?)
                })
            }
            Read::Seconds(read) => {
                let Some(value) = read() else { return Ok(()) };
                ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, metric_type)?)
            }
        }
    }
}
