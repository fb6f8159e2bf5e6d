//! Traces: spans go to a collector, by OTLP over gRPC, in batches on a thread of their own. A collector that is slow or away costs
//! spans and nothing else.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceId, TraceState, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, SpanData,
    SpanExporter as Export,
};

use super::TelemetryError;
use crate::config::Telemetry;

/// For one batch.
const EXPORT_TIME: Duration = Duration::from_secs(5);
/// Of one span. Ours have a handful of short ones; a statement is the longest.
const ATTRIBUTES_MAX: u32 = 32;

/// Spans that no collector took, since the start.
static LOST: AtomicU64 = AtomicU64::new(0);

pub(super) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Where spans are made and from where they are exported.
pub(super) struct Traces {
    pub(super) tracer: SdkTracer,
    pub(super) provider: SdkTracerProvider,
}

impl Traces {
    /// `None` if there are to be none. Connects later; a collector that is away keeps nobody from starting. To be called on a
    /// runtime, which sends.
    pub(super) fn start(settings: &Telemetry) -> Result<Option<Self>, TelemetryError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(None) };
        let unusable = |why: String| TelemetryError::Traces { why };
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIME);
        if endpoint.starts_with("https://") {
            let trust = match &settings.ca {
                Some(path) => {
                    let pem = fs::read(path).map_err(|why| unusable(format!("{}: {why}", path.display())))?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
                None => ClientTlsConfig::new().with_native_roots(),
            };
            exporter = exporter.with_tls_config(trust);
        }
        let exporter = exporter.build().map_err(|why| unusable(why.to_string()))?;
        let resource = Resource::builder_empty()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()))
            .build();
        let roots = Roots(Sampler::TraceIdRatioBased(1.0 / f64::from(settings.sample_one_in)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Counted { exporter, failing: AtomicBool::new(false) })
            .with_sampler(Sampler::ParentBased(Box::new(roots)))
            .with_max_attributes_per_span(ATTRIBUTES_MAX)
            .with_resource(resource)
            .build();
        Ok(Some(Self { tracer: provider.tracer("postern"), provider }))
    }
}

/// What begins here: a share of what came in. What the service does on its own, every second, is no trace of anybody's.
#[derive(Clone, Debug)]
struct Roots(Sampler);

impl ShouldSample for Roots {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if *kind == SpanKind::Server {
            return self.0.should_sample(parent, trace, name, kind, attributes, links);
        }
        SamplingResult { decision: SamplingDecision::Drop, attributes: Vec::new(), trace_state: TraceState::default() }
    }
}

/// Counts what is lost, and says so once an outage.
#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl Export for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let outcome = self.exporter.export(batch).await;
        match &outcome {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector of traces answers again");
                }
            }
            Err(why) => {
                LOST.fetch_add(count, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%why, "the collector of traces does not take them; they are lost until it does");
                }
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, time: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(time)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
